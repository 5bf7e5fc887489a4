"""THE table of settings: every name, type, unit, default, bound and one-line meaning.

    Config                            one running proxy
      listen: ListenAddress ...       where clients come in
      pools: PoolConfig ...           where a key may live
        servers: ServerConfig ...     the ring that names a key's owner
        backups: ServerConfig ...     the ring that names its backup copy

The configuration file, magent's flags, `magent check`, error messages and docs/reference/settings.md read it.

Invariants
- A model is frozen, and what exists is valid: bounds and the rules between settings hold however it was made.
- `Model.conflicts(values)` knows the rules between settings. It copes with values that are missing or
  None for being wrong, so that a reader reports every mistake in one run.
- A model goes through JSON and back unchanged (supervisor -> worker).
"""

import os
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args

from annotated_types import Ge, Le
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticUndefined

from memagent.addresses import DEFAULT_PORT, Address, parse_address, parse_listen
from memagent.units import format_bytes, format_ms, parse_bytes, parse_count, parse_ms, parse_switch, quoted

Distribution = Literal["ketama", "modula", "consistent", "magent-ketama", "jump", "rendezvous"]
KeyHash = Literal[
    "md5", "djb", "one_at_a_time", "crc16", "crc32", "crc32a", "fnv1_64", "fnv1a_64", "fnv1_32", "fnv1a_32",
    "hsieh", "murmur", "murmur3", "jenkins", "xxh3",
]  # fmt: skip
WEIGHTED: tuple[Distribution, ...] = ("ketama", "modula", "rendezvous")


_MIB = 1024 * 1024
_GIB = 1024 * _MIB

_WORD = "1-255 characters without a space"
_PATH = "an absolute path"
_TAG = 'two printable ASCII characters such as "{}", or "" for none'


# ---------------------------------------------------------------- how a value is read


def _text_that_prints(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must have no control character")
    return value


def _address(value: str) -> str:
    parse_address(value)
    return value


def _word(value: str) -> str:
    if not value or " " in value or len(value) > 255:
        raise ValueError(f"must be {_WORD}")
    return _text_that_prints(value)


def _absolute(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError(f"must be {_PATH}")
    return _text_that_prints(value)


def _tag(value: str) -> str:
    if value and (len(value) != 2 or not value.isascii() or not value.isprintable() or " " in value):
        raise ValueError(f"must be {_TAG}")
    return value


def available_cores() -> int:
    """Cores that this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0))


def _workers(value: Any) -> Any:
    return available_cores() if value == "auto" else parse_count(value)


Count = Annotated[int, BeforeValidator(parse_count)]
Workers = Annotated[int, BeforeValidator(_workers)]
Milliseconds = Annotated[int, BeforeValidator(parse_ms)]
Bytes = Annotated[int, BeforeValidator(parse_bytes)]
Switch = Annotated[bool, BeforeValidator(parse_switch)]
AddressText = Annotated[str, AfterValidator(_address)]
Word = Annotated[str, AfterValidator(_word)]
Path = Annotated[str, AfterValidator(_absolute)]
Tag = Annotated[str, AfterValidator(_tag)]


def _setting(
    description: str,
    default: Any = PydanticUndefined,
    unit: str | None = None,
    shown: str | None = None,
    allowed: str | None = None,
    **bounds: Any,
) -> Any:
    """One row of the table. `shown` and `allowed` are words where default and bounds do not say it."""
    extra: dict[str, Any] = {"unit": unit, "shown": shown, "allowed": allowed}
    strict = True if unit is not None else None
    return Field(default, description=description, json_schema_extra=extra, strict=strict, **bounds)


def _derived(description: str, default: Any = PydanticUndefined, allowed: str | None = None) -> Any:
    """A value that memagent works out: no setting, so not in any file and not in the docs."""
    return Field(default, description=description, json_schema_extra={"derived": True, "allowed": allowed})


# ---------------------------------------------------------------- the table


class Conflict(NamedTuple):
    """A broken rule between settings. `where` leads to the one to blame, `other` to the second choice."""

    where: tuple[str | int, ...]
    text: str
    other: tuple[str | int, ...] = ()


class Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def conflicts(cls, values: Mapping[str, Any]) -> Iterator[Conflict]:
        """Broken rules between settings, given the values that are right on their own."""
        return iter(())

    @model_validator(mode="after")
    def _check_conflicts(self) -> Self:
        texts = [conflict.text for conflict in self.conflicts(self.__dict__)]
        if texts:
            raise ValueError("; ".join(texts))
        return self


class ListenAddress(Table):
    """A place where clients come in: host and port, or the path of a Unix socket."""

    host: str | None = _derived("None for a Unix socket", None)
    port: int = _derived("0 for a Unix socket", 0)
    path: str | None = _derived("set for a Unix socket only", None)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        address = parse_listen(value)
        if address.path is not None:
            return {"path": address.path}
        return {"host": address.host, "port": address.port}

    def __str__(self) -> str:
        return str(Address(self.host or "", self.port, self.path))


class ServerConfig(Table):
    """A memcached server. What goes on the ring is its name."""

    address: AddressText = _setting(
        "Where it is; the port is 11211 if left out", allowed="host:port, [v6]:port or unix:/path"
    )
    name: Word = _setting(
        "What goes on the ring and is shown; keep it when a machine is replaced and no key moves",
        shown="the address as host:port",
        allowed=_WORD,
    )
    weight: Count = _setting(
        "Its share of the keys, relative to the other servers (ketama, modula, rendezvous)",
        1,
        "count",
        ge=1,
        le=65535,
    )
    named: bool = _derived("was the name given by the user?")
    host: str = _derived("the path for a Unix socket")
    port: int = _derived("0 for a Unix socket")
    path: str | None = _derived("set for a Unix socket only", None)

    @model_validator(mode="before")
    @classmethod
    def _from_address(cls, value: Any) -> Any:
        given = {"address": value} if isinstance(value, str) else value
        if not isinstance(given, dict) or not isinstance(given.get("address"), str):
            return given
        address = parse_address(given["address"])
        derived = {"host": address.host, "port": address.port, "path": address.path}
        return {"name": str(address), "named": "name" in given, **given, **derived}

    def __str__(self) -> str:
        return self.name


class PoolConfig(Table):
    """A set of servers that share the keys, and the backups that keep the copies."""

    name: Word = _derived("the key under `pools`", allowed=_WORD)
    servers: tuple[ServerConfig, ...] = _setting(
        "The servers, in an order that matters to some distributions", allowed="a list of servers"
    )
    backups: tuple[ServerConfig, ...] = _setting(
        "Servers that hold a second copy of every key, on a ring of their own",
        (),
        shown="none",
        allowed="a list of servers",
    )
    distribution: Distribution = _setting("How keys are spread over the servers", "ketama")
    key_hash: KeyHash = _setting(
        "The hash of a key", "md5", shown="md5; one_at_a_time with the distribution consistent"
    )
    hash_tag: Tag = _setting(
        'Two characters such as "{}": only the part of a key between them is hashed',
        "",
        shown='"", which is none',
        allowed=_TAG,
    )
    copies: Count = _setting(
        "2 keeps a second copy on the next different server of the same ring (only without backups)",
        1, "count", ge=1, le=2,
    )  # fmt: skip
    connections_per_server: Count = _setting(
        "Connections that each worker keeps to each server; a key always takes the same one",
        1,
        "count",
        ge=1,
        le=64,
    )
    connect_timeout_ms: Milliseconds = _setting(
        "How long a connection to a server may take to open", 250, "ms", ge=1, le=60_000
    )
    request_timeout_ms: Milliseconds = _setting(
        "How long a server may take to answer a request", 1_000, "ms", ge=1, le=600_000
    )
    failure_limit: Count = _setting(
        "Timeouts in a row after which a server is down", 3, "count", ge=1, le=1_000
    )
    probe_min_ms: Milliseconds = _setting(
        "First pause between probes of a server that is down", 100, "ms", ge=10, le=60_000
    )
    probe_max_ms: Milliseconds = _setting(
        "Longest pause between probes; pauses double up to it", 5_000, "ms", ge=10, le=600_000
    )
    get_when_down: Literal["miss", "error"] = _setting(
        "What a get answers when no server that has the key is up", "miss"
    )
    multiget_deadline_ms: Milliseconds = _setting(
        "After this time a get of several keys answers with what is there; 0 waits for every server",
        0,
        "ms",
        ge=0,
        le=600_000,
    )

    @model_validator(mode="before")
    @classmethod
    def fill(cls, values: Any) -> Any:
        """The key hash that the systems use which have this distribution."""
        if isinstance(values, dict) and values.get("distribution") == "consistent":
            return {"key_hash": "one_at_a_time", **values}
        return values

    @classmethod
    def conflicts(cls, values: Mapping[str, Any]) -> Iterator[Conflict]:
        yield from _server_conflicts(values)
        servers, backups = values.get("servers"), values.get("backups", ())
        distribution = values.get("distribution")
        if distribution == "magent-ketama" and values.get("key_hash", "md5") != "md5":
            yield Conflict(("key_hash",), "magent-ketama hashes keys with md5 only")
        if distribution is not None and distribution not in WEIGHTED:
            for part, index, server in _each_server(values):
                if server.weight != 1:
                    text = (
                        f"{distribution} knows no weights; {', '.join(WEIGHTED[:-1])} and {WEIGHTED[-1]} do"
                    )
                    yield Conflict((part, index, "weight"), text)
        if values.get("copies") == 2:
            if backups:
                text = "copies: 2 cannot be had with backups: the backups already hold the second copy"
                yield Conflict(("copies",), text)
            elif servers is not None and len(servers) == 1:
                yield Conflict(
                    ("copies",),
                    "copies: 2 needs at least two servers: the second copy must be on another one",
                )
        yield from _order_conflicts(values, "ms", ("probe_min_ms", "probe_max_ms"))


class Config(Table):
    """One running proxy."""

    listen: tuple[ListenAddress, ...] = _setting(
        "Where clients come in; a port alone is every IPv4 address",
        (ListenAddress(host="127.0.0.1", port=DEFAULT_PORT),),
        shown=f"127.0.0.1:{DEFAULT_PORT}",
        allowed="a list of host:port, [v6]:port, unix:/path or a port",
    )
    workers: Workers = _setting(
        'Processes that carry the traffic; "auto" is one for each core',
        PydanticUndefined,
        "count",
        shown="auto",
        default_factory=available_cores,
        ge=1,
        le=256,
    )
    pools: tuple[PoolConfig, ...] = _setting(
        "The pools of servers by name; for now exactly one", allowed="a mapping of names to pools"
    )
    max_connections: Count = _setting(
        "Most client connections, over all workers; one more is told so and closed",
        4096,
        "count",
        ge=1,
        le=1_000_000,
    )
    max_item_bytes: Bytes = _setting(
        "Largest value that a client may store; give the servers' own -I", _MIB, "bytes", ge=1024, le=_GIB
    )
    client_pause_bytes: Bytes = _setting(
        "Replies that a client has not read, past which no more is read from it",
        16 * _MIB,
        "bytes",
        ge=65_536,
        le=_GIB,
    )
    client_close_bytes: Bytes = _setting(
        "Replies that a client has not read, past which it is closed",
        64 * _MIB,
        "bytes",
        ge=65_536,
        le=4 * _GIB,
    )
    server_queue_bytes: Bytes = _setting(
        'Requests waiting for one server, past which the answer is "server busy"',
        64 * _MIB,
        "bytes",
        ge=65_536,
        le=4 * _GIB,
    )
    server_queue_requests: Count = _setting(
        'Requests waiting for one server, past which the answer is "server busy"',
        65_536,
        "count",
        ge=1,
        le=16_777_216,
    )
    worker_buffer_bytes: Bytes = _setting(
        "All buffers of one worker, past which the largest consumers are paused, then refused",
        512 * _MIB, "bytes", ge=_MIB, le=1024 * _GIB,
    )  # fmt: skip
    drain_ms: Milliseconds = _setting(
        "How long requests under way may take to finish after SIGTERM", 10_000, "ms", ge=0, le=600_000
    )
    dns_refresh_ms: Milliseconds = _setting(
        "How often servers' names are resolved again", 30_000, "ms", ge=1_000, le=86_400_000
    )
    user: Word | None = _setting(
        "User to run as, after the ports are open", None, shown="unchanged", allowed=_WORD
    )
    group: Word | None = _setting("Group to run as", None, shown="that of the user", allowed=_WORD)
    daemon: Switch = _setting("Go to the background", False, "switch")
    verbose: Switch = _setting("Log more", False, "switch")
    log_file: Path | None = _setting("Where the log goes", None, shown="standard error", allowed=_PATH)

    @classmethod
    def conflicts(cls, values: Mapping[str, Any]) -> Iterator[Conflict]:
        if "listen" in values and not values["listen"]:
            yield Conflict(("listen",), "at least one address is needed")
        first: dict[str, int] = {}
        for index, address in enumerate(values.get("listen", ())):
            if address is None:
                continue
            before = first.setdefault(str(address), index)
            if before != index:
                yield Conflict(("listen", index), f"{quoted(address)} is already listen[{before}]")
        if "pools" in values and len(values["pools"]) != 1:
            yield Conflict(("pools",), f"there must be exactly one pool, not {len(values['pools'])}")
        yield from _order_conflicts(values, "bytes", ("client_pause_bytes", "client_close_bytes"))
        for name in ("client_close_bytes", "server_queue_bytes", "worker_buffer_bytes"):
            yield from _order_conflicts(values, "bytes", ("max_item_bytes", name))


# ---------------------------------------------------------------- rules between settings


def _each_server(values: Mapping[str, Any]) -> Iterator[tuple[str, int, ServerConfig]]:
    """The servers that are right on their own; a reader puts None in the place of a wrong one."""
    for part in ("servers", "backups"):
        for index, server in enumerate(values.get(part, ())):
            if server is not None:
                yield part, index, server


def _server_conflicts(values: Mapping[str, Any]) -> Iterator[Conflict]:
    if "servers" in values and not values["servers"]:
        yield Conflict(("servers",), "a pool needs at least one server")
    by_address: dict[tuple[str, object], int] = {}
    by_name: dict[str, tuple[str, int, ServerConfig]] = {}
    for part, index, server in _each_server(values):
        address = Address(server.host, server.port, server.path)
        before = by_address.setdefault((part, address), index)
        if before != index:
            text = f"{quoted(address)} is already {part}[{before}]; for more of the keys give it a weight"
            yield Conflict((part, index), text)
            continue
        other_part, other_index, other = by_name.setdefault(server.name, (part, index, server))
        if other is not server and (
            other_part == part or (other.host, other.port) != (server.host, server.port)
        ):
            yield Conflict(
                (part, index, "name"),
                f"the name {quoted(server.name)} is already taken by {other_part}[{other_index}]",
            )


def _order_conflicts(values: Mapping[str, Any], unit: str, names: tuple[str, str]) -> Iterator[Conflict]:
    small, large = names
    if small in values and large in values and values[small] > values[large]:
        show = format_ms if unit == "ms" else format_bytes
        text = f"{large} ({show(values[large])}) must not be less than {small} ({show(values[small])})"
        yield Conflict((large,), text, (small,))


# ---------------------------------------------------------------- reading one setting


class Setting(NamedTuple):
    """One row of the table, as readers and docs see it."""

    name: str
    description: str
    unit: str | None
    default: str | None
    allowed: str
    required: bool


def settings_of(model: type[Table]) -> dict[str, Setting]:
    """The rows of a model that a user may set, in the order of the table."""
    rows = {}
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        assert isinstance(extra, dict)
        if extra.get("derived"):
            continue
        unit = str(extra["unit"]) if extra["unit"] else None
        default = extra["shown"] or (None if field.is_required() else _show(field.default, unit))
        rows[name] = Setting(
            name=name,
            description=field.description or "",
            unit=unit,
            default=None if default is None else str(default),
            allowed=_allowed(model, name),
            required=default is None,
        )
    return rows


def read_setting(model: type[Table], name: str, value: Any) -> Any:
    """One value as the table wants it, from text or from Python; ValueError says what is allowed."""
    try:
        return _adapter(model, name).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "value_error":
            raise ValueError(str(first["ctx"]["error"])) from None
        raise ValueError(f"must be {_allowed(model, name)}") from None


@cache
def _adapter(model: type[Table], name: str) -> TypeAdapter[Any]:
    field = model.model_fields[name]
    whole: Any = field.annotation
    if field.metadata:  # an optional one carries its rules inside its type
        whole = Annotated[(whole, *field.metadata)]
    return TypeAdapter(whole)


def _allowed(model: type[Table], name: str) -> str:
    field = model.model_fields[name]
    extra = field.json_schema_extra
    assert isinstance(extra, dict)
    if extra.get("allowed"):
        return str(extra["allowed"])
    choices = [choice for choice in get_args(field.annotation) if isinstance(choice, str)]
    if choices:
        return "one of " + ", ".join(choices)
    unit = str(extra["unit"])
    if unit == "switch":
        return "true or false"
    low = next(item.ge for item in field.metadata if isinstance(item, Ge))
    high = next(item.le for item in field.metadata if isinstance(item, Le))
    words = {"ms": "a time", "bytes": "a size", "count": "a whole number"}[unit]
    return f"{words} from {_show(low, unit)} to {_show(high, unit)}"


def _show(value: Any, unit: str | None) -> str:
    if unit == "ms":
        return format_ms(value)
    if unit == "bytes":
        return format_bytes(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
