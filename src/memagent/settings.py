"""THE table of settings: every name, type, unit, default, bound and one-line meaning.

    Config                            one running proxy
      listen: ListenAddress ...       where clients of all pools come in: keys decide by their prefixes
      pools: PoolConfig ...           where a key may live
        listen: ListenAddress ...     where clients of this pool alone come in
        servers: ServerConfig ...     the ring that names a key's owner
        backups: ServerConfig ...     the ring that names its backup copy

The configuration file, magent's flags, `magent check`, error messages and docs/reference/settings.md read it;
`rows` says how one of its rows is declared and read.

Invariants
- A model is frozen, and what exists is valid: bounds and the rules between settings hold however it was made.
- `Model.conflicts(values)` knows the rules between settings. It copes with values that are missing or
  None for being wrong, so that a reader reports every mistake in one run.
- A model goes through JSON and back unchanged, but for secrets, which stay behind. Workers read that with
  `told`, which has the same names.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticUndefined

from memagent.addresses import DEFAULT_PORT, Address, parse_address, parse_listen
from memagent.rows import (
    LISTEN,
    PATH,
    PREFIX,
    TAG,
    URL,
    WORD,
    AddressText,
    Bytes,
    Count,
    ListenText,
    Milliseconds,
    Path,
    Prefix,
    Secret,
    Switch,
    Tag,
    Url,
    Word,
    Workers,
    available_cores,
    derived,
    setting,
)
from memagent.told import Shape
from memagent.units import format_bytes, format_ms, quoted

Distribution = Literal["ketama", "modula", "consistent", "magent-ketama", "jump", "rendezvous"]
KeyHash = Literal[
    "md5", "djb", "one_at_a_time", "crc16", "crc32", "crc32a", "fnv1_64", "fnv1a_64", "fnv1_32", "fnv1a_32",
    "hsieh", "murmur", "murmur3", "jenkins", "xxh3",
]  # fmt: skip

_MIB = 1024 * 1024
_GIB = 1024 * _MIB

MOST_POOLS = 256
MOST_WORKERS = 256
_FEWEST_PLACES = 16

# memcached takes a longer time for a date.
_LONGEST_RELATIVE_MS = 30 * 86_400_000

# At the default rate 72 million keys, more than a server holds that this is likely to be about; who is not
# done by then has a source that hardly answers, and is of more use open than waiting for it.
_WARM_MS = 3_600_000


class Conflict(NamedTuple):
    """A broken rule between settings. `where` leads to the one to blame, `other` to the second choice."""

    where: tuple[str | int, ...]
    text: str
    other: tuple[str | int, ...] = ()


class Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

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

    host: str | None = derived("None for a Unix socket", None)
    port: int = derived("0 for a Unix socket", 0)
    path: str | None = derived("set for a Unix socket only", None)

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

    address: AddressText = setting(
        "Where it is; the port is 11211 if left out", allowed="host:port, [v6]:port or unix:/path"
    )
    name: Word = setting(
        "What goes on the ring and is shown; keep it when a machine is replaced and no key moves",
        shown="the address as host:port",
        allowed=WORD,
    )
    weight: Count = setting(
        "Its share of the keys, relative to the other servers (not with magent-ketama)",
        1,
        "count",
        ge=1,
        le=65535,
    )
    named: bool = derived("was the name given by the user?")
    host: str = derived("the path for a Unix socket")
    port: int = derived("0 for a Unix socket")
    path: str | None = derived("set for a Unix socket only", None)

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


class PoolConfig(Shape, Table):
    """A set of servers that share the keys, and the backups that keep the copies."""

    name: Word = derived("the key under `pools`", allowed=WORD)
    servers: tuple[ServerConfig, ...] = setting(
        "The servers, in an order that matters to some distributions", allowed="a list of servers"
    )
    backups: tuple[ServerConfig, ...] = setting(
        "Servers that hold a second copy of every key, on a ring of their own",
        (),
        shown="none",
        allowed="a list of servers",
    )
    prefixes: tuple[Prefix, ...] = setting(
        'Keys that begin so are its own, at the addresses of all pools; the longest wins, "" is the rest',
        (),
        shown="with a `listen` of its own none, else the keys that no other pool takes",
        allowed=f"a list of prefixes, each {PREFIX}",
    )
    strip_prefix: Switch = setting(
        "Its servers know a key without the prefix that led here; clients see it whole", False, "switch"
    )
    listen: tuple[ListenAddress, ...] = setting(
        "Addresses where every key is this pool's, whatever it begins with",
        (),
        shown="none",
        allowed=f"a list of {LISTEN}",
    )
    distribution: Distribution = setting("How keys are spread over the servers", "ketama")
    key_hash: KeyHash = setting(
        "The hash of a key", "md5", shown="md5; one_at_a_time with the distribution consistent"
    )
    hash_tag: Tag = setting(
        'Two characters such as "{}": only the part of a key between them is hashed',
        "",
        shown='"", which is none',
        allowed=TAG,
    )
    copies: Count = setting(
        "2 keeps a second copy on the next different server of the same ring (only without backups)",
        1, "count", ge=1, le=2,
    )  # fmt: skip
    connections_per_server: Count = setting(
        "Connections that each worker keeps to each server; a key always takes the same one",
        1,
        "count",
        ge=1,
        le=64,
    )
    connect_timeout_ms: Milliseconds = setting(
        "How long a connection to a server may take to open", 250, "ms", ge=1, le=60_000
    )
    request_timeout_ms: Milliseconds = setting(
        "How long a server may take to answer a request", 1_000, "ms", ge=1, le=600_000
    )
    failure_limit: Count = setting(
        "Timeouts in a row after which a server is down", 3, "count", ge=1, le=1_000
    )
    probe_min_ms: Milliseconds = setting(
        "First pause between probes of a server that is down", 100, "ms", ge=10, le=60_000
    )
    probe_max_ms: Milliseconds = setting(
        "Longest pause between probes; pauses double up to it", 5_000, "ms", ge=10, le=600_000
    )
    get_when_down: Literal["miss", "error"] = setting(
        "What a get answers when no server that has the key is up", "miss"
    )
    multiget_deadline_ms: Milliseconds = setting(
        "After this time a get of several keys answers with what is there; 0 waits for every server",
        0,
        "ms",
        ge=0,
        le=600_000,
    )
    fallback: Literal["always", "warming", "never"] = setting(
        "When a key that its server missed is looked for at its copy; nothing without copies", "always"
    )
    acknowledge: Literal["owner", "all"] = setting(
        "Who must have a write before the client is answered; with owner, what the copy missed is journaled",
        "owner",
    )
    repair_ttl_ms: Milliseconds = setting(
        "How long an item lives that was repaired from a server too old to say when it expires",
        60_000, "ms", ge=1_000, le=_LONGEST_RELATIVE_MS,
    )  # fmt: skip
    journal_keys: Count = setting(
        "Keys written while a server is down that a worker notes for it; past it the server is flushed",
        1_000_000, "count", ge=1, le=100_000_000,
    )  # fmt: skip
    journal_bytes: Bytes = setting(
        "Memory that a worker spends on the keys noted for one server",
        64 * _MIB, "bytes", ge=1024, le=64 * _GIB,
    )  # fmt: skip
    warm_for_at_most_ms: Milliseconds = setting(
        "When a server that came back empty answers alone again, copied in full or not",
        _WARM_MS, "ms", ge=0, le=7 * 86_400_000,
    )  # fmt: skip
    rewarm: Switch = setting("Copy the keys back to a server that came back empty", True, "switch")
    rewarm_keys_per_s: Count = setting(
        "Most keys copied in a second; 0 is no limit", 20_000, "count", ge=0, le=100_000_000
    )
    rewarm_bytes_per_s: Bytes = setting(
        "Most bytes copied in a second; 0 is no limit", 32 * _MIB, "bytes", ge=0, le=64 * _GIB
    )
    on_change: Literal["reroute", "migrate"] = setting(
        "What a reload does that gives keys to other servers: at once, or once they are copied there"
        " (only without copies)",
        "reroute",
    )
    migration: "Migration | None" = derived("set while keys move from former rings to these", None)

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
        prefixes = values.get("prefixes", ())
        for index, prefix in enumerate(prefixes):
            if prefix is not None and (before := prefixes.index(prefix)) != index:
                yield Conflict(("prefixes", index), f"{quoted(prefix)} is already prefixes[{before}]")
        if values.get("strip_prefix") and not any(prefixes):
            yield Conflict(("strip_prefix",), "there is nothing to strip: the pool has no prefixes")
        servers, backups = values.get("servers"), values.get("backups", ())
        distribution = values.get("distribution")
        if distribution == "magent-ketama" and values.get("key_hash", "md5") != "md5":
            yield Conflict(("key_hash",), "magent-ketama hashes keys with md5 only")
        if distribution == "magent-ketama":
            for part, index, server in _each_server(values):
                if server.weight != 1:
                    text = "magent-ketama knows no weights; every other distribution does"
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
        if values.get("on_change") == "migrate" and (backups or values.get("copies") == 2):
            text = "migrate is for pools without copies: here a key that moves is found at its other server"
            yield Conflict(("on_change",), text)
        yield from _order_conflicts(values, "ms", ("probe_min_ms", "probe_max_ms"))


class Migration(Table):
    """Keys move from the rings of `former` to those of the first `n_settled` servers; the others leave.

    mirror: a key's former server decides, its new one is told of all writes and is never asked. copy: it is
    asked where the former one cannot be. settle: the new one decides, the former one is told.
    """

    phase: Literal["mirror", "copy", "settle"]
    former: PoolConfig
    n_settled: int


PoolConfig.model_rebuild()


def room_for(workers: int) -> int:
    """How many workers a proxy may have by reloads that has started with so many."""
    return min(MOST_WORKERS, max(2 * workers, _FEWEST_PLACES))


class Config(Table):
    """One running proxy."""

    listen: tuple[ListenAddress, ...] = setting(
        "Where clients come in, of all pools; a port alone is every IPv4 address",
        (ListenAddress(host="127.0.0.1", port=DEFAULT_PORT),),
        shown=f"127.0.0.1:{DEFAULT_PORT}",
        allowed=f"a list of {LISTEN}",
    )
    workers: Workers = setting(
        'Processes that carry the traffic; "auto" is one for each core',
        PydanticUndefined,
        "count",
        shown="auto",
        words=("auto",),
        default_factory=available_cores,
        ge=1,
        le=MOST_WORKERS,
    )
    pools: tuple[PoolConfig, ...] = setting(
        f"The pools of servers by name, {MOST_POOLS} at most", allowed="a mapping of names to pools"
    )
    max_connections: Count = setting(
        "Most client connections, over all workers; one more is told so and closed",
        4096,
        "count",
        ge=1,
        le=1_000_000,
    )
    max_item_bytes: Bytes = setting(
        "Largest value that a client may store; give the servers' own -I", _MIB, "bytes", ge=1024, le=_GIB
    )
    client_pause_bytes: Bytes = setting(
        "Replies that a client has not read, past which no more is read from it",
        16 * _MIB,
        "bytes",
        ge=65_536,
        le=_GIB,
    )
    client_close_bytes: Bytes = setting(
        "Replies that a client has not read, past which it is closed",
        64 * _MIB,
        "bytes",
        ge=65_536,
        le=4 * _GIB,
    )
    server_queue_bytes: Bytes = setting(
        'Requests waiting for one server, past which the answer is "server busy"',
        64 * _MIB,
        "bytes",
        ge=65_536,
        le=4 * _GIB,
    )
    server_queue_requests: Count = setting(
        'Requests waiting for one server, past which the answer is "server busy"',
        65_536,
        "count",
        ge=1,
        le=16_777_216,
    )
    worker_buffer_bytes: Bytes = setting(
        "All buffers of one worker, past which the largest consumers are paused, then refused",
        512 * _MIB, "bytes", ge=_MIB, le=1024 * _GIB,
    )  # fmt: skip
    drain_ms: Milliseconds = setting(
        "How long requests under way may take to finish after SIGTERM", 10_000, "ms", ge=0, le=600_000
    )
    dns_refresh_ms: Milliseconds = setting(
        "How often servers' names are resolved again", 30_000, "ms", ge=1_000, le=86_400_000
    )
    user: Word | None = setting(
        "User to run as, after the ports are open", None, shown="unchanged", allowed=WORD, at_start=True
    )
    group: Word | None = setting(
        "Group to run as", None, shown="that of the user", allowed=WORD, at_start=True
    )
    daemon: Switch = setting("Go to the background", False, "switch", at_start=True)
    verbose: Switch = setting("Log more", False, "switch")
    watch: Switch = setting(
        "Put the configuration in force by itself when a file of it changes, as `magent reload` does",
        False,
        "switch",
    )
    log_file: Path | None = setting(
        "Where the log goes", None, shown="standard error", allowed=PATH, at_start=True
    )
    latency_metrics: Switch = setting(
        "Count how long requests take, for the metrics: by pool and verb, and by server", True, "switch"
    )
    hot_keys: Switch = setting(
        "Find out which keys are asked for most, for `magent hot`: by looking at some of the requests",
        True,
        "switch",
    )
    slow_ms: Milliseconds = setting(
        "A request that takes so long goes into the slow log, for `magent slow`; 0 keeps none",
        100,
        "ms",
        ge=0,
        le=600_000,
    )
    otel_endpoint: Url | None = setting(
        "Where metrics are sent by OTLP over HTTP, /v1/metrics being added; needs memagent[otel]",
        None,
        shown="nowhere",
        allowed=URL,
        at_start=True,
    )
    control_socket: Path | None = setting(
        "Where magent's commands reach the running proxy: a Unix socket for its own user only",
        None,
        shown="memagent-PORT.sock in the runtime directory",
        allowed=PATH,
        at_start=True,
    )
    admin_listen: ListenText | None = setting(
        "Where the page, the control API, metrics and health answer over HTTP; needs memagent[admin]",
        None,
        shown="nowhere",
        allowed=LISTEN,
        at_start=True,
    )
    admin_read_token: Secret | None = setting(
        "Who has it may look, over HTTP; without one, whoever can reach a loopback address may",
        None,
        shown="none",
    )
    admin_operator_token: Secret | None = setting(
        "Who has it may look and act, over HTTP; without one, nobody acts over TCP", None, shown="none"
    )

    @property
    def listens(self) -> dict[str, tuple[ListenAddress, ...]]:
        """The addresses to listen on, by the pool whose they are; "": of all that have prefixes."""
        shared = {"": self.listen} if any(pool.takes for pool in self.pools) else {}
        return shared | {pool.name: pool.listen for pool in self.pools if pool.listen}

    @classmethod
    def conflicts(cls, values: Mapping[str, Any]) -> Iterator[Conflict]:
        if "listen" in values and not values["listen"]:
            yield Conflict(("listen",), "at least one address is needed")
        if "pools" in values and not 1 <= len(values["pools"]) <= MOST_POOLS:
            yield Conflict(("pools",), f"there must be 1 to {MOST_POOLS} of them, not {len(values['pools'])}")
        yield from _prefix_conflicts(values)
        yield from _address_conflicts(values)
        yield from _admin_conflicts(values)
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


def _pools(values: Mapping[str, Any]) -> list[PoolConfig]:
    """Those that are right on their own."""
    return [pool for pool in values.get("pools", ()) if pool is not None]


def _prefix_conflicts(values: Mapping[str, Any]) -> Iterator[Conflict]:
    taken: dict[str, PoolConfig] = {}
    for pool in _pools(values):
        for index, prefix in enumerate(pool.takes):
            other = taken.setdefault(prefix, pool)
            if other is pool:
                continue
            if prefix:
                where: tuple[str | int, ...] = ("pools", pool.name, "prefixes", index)
                yield Conflict(
                    where, f"{quoted(prefix)} is already a prefix of the pool {quoted(other.name)}"
                )
            else:
                text = (
                    f"{quoted(other.name)} takes the keys already that no prefix takes: give one of them "
                    "prefixes, or a listen of its own"
                )
                yield Conflict(("pools", pool.name), text)


def _address_conflicts(values: Mapping[str, Any]) -> Iterator[Conflict]:
    pools = _pools(values)
    shared = values.get("listen", ())
    if pools and len(pools) == len(values["pools"]) and not any(pool.takes for pool in pools):
        if shared and shared != Config.model_fields["listen"].default:
            text = "no pool is reached there: each has addresses of its own, and none has prefixes"
            yield Conflict(("listen",), text)
        shared = ()
    first: dict[str, str] = {}
    for name, addresses in [("", shared), *((pool.name, pool.listen) for pool in pools)]:
        for index, address in enumerate(addresses):
            if address is None:
                continue
            what = f"listen[{index}]" + (f" of the pool {quoted(name)}" if name else "")
            before = first.setdefault(str(address), what)
            if before != what:
                where = ("pools", name, "listen", index) if name else ("listen", index)
                yield Conflict(where, f"{quoted(address)} is already {before}", ("pools", name))


def _admin_conflicts(values: Mapping[str, Any]) -> Iterator[Conflict]:
    text = values.get("admin_listen")
    if text is None:
        return
    address = parse_listen(text)
    for addresses in (values.get("listen", ()), *(pool.listen for pool in _pools(values))):
        for index, other in enumerate(addresses):
            if other is not None and str(other) == str(address):
                yield Conflict(("admin_listen",), f"{quoted(address)} is already listen[{index}]")
    tokens = ("admin_read_token", "admin_operator_token")
    if address.path is None and not address.is_loopback and not any(values.get(name) for name in tokens):
        yield Conflict(
            ("admin_listen",),
            f"{quoted(text)} can be reached from other machines: set {' or '.join(tokens)},"
            " or listen on 127.0.0.1",
        )


def _order_conflicts(values: Mapping[str, Any], unit: str, names: tuple[str, str]) -> Iterator[Conflict]:
    small, large = names
    if small in values and large in values and values[small] > values[large]:
        show = format_ms if unit == "ms" else format_bytes
        text = f"{large} ({show(values[large])}) must not be less than {small} ({show(values[small])})"
        yield Conflict((large,), text, (small,))
