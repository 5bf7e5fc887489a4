"""What may be asked over the control socket: one line of JSON -> a Request, or a RefusedError in words."""

from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from memagent.units import quoted

MOST_SHOWN: Final = 1000
MOST_TAPPED_PER_S: Final = 1000


# A week: nobody remembers after that, and a configuration file does.
ForSeconds = Annotated[float, Field(gt=0, le=604_800)]


class RefusedError(Exception):
    """What was asked is not done. `can_force`: it is if the request says so."""

    def __init__(self, error: str, hint: str | None = None, can_force: bool = False) -> None:
        super().__init__(error)
        self.error = error
        self.hint = hint
        self.can_force = can_force

    def as_json(self) -> dict[str, Any]:
        force = {"force": True} if self.can_force else {}
        return {"error": self.error, "hint": self.hint, **force}


class UnknownError(RefusedError):
    """There is no such thing."""


class InvalidError(RefusedError):
    """The request itself is wrong."""


@dataclass(frozen=True)
class Snapshot:
    verb: Literal["snapshot"]


@dataclass(frozen=True)
class Metrics:
    verb: Literal["metrics"]
    accept: str = ""


@dataclass(frozen=True)
class Counters:
    verb: Literal["counters"]


@dataclass(frozen=True)
class Config:
    verb: Literal["config"]


@dataclass(frozen=True)
class Reload:
    verb: Literal["reload"]


@dataclass(frozen=True)
class LogLevel:
    verb: Literal["log_level"]
    level: Literal["debug", "info"] | None = None
    for_s: ForSeconds | None = None


@dataclass(frozen=True, kw_only=True)
class Flush:
    verb: Literal["flush"]
    pool: str
    confirm: Literal["flush_all"]


@dataclass(frozen=True, kw_only=True)
class Upgrade:
    verb: Literal["upgrade"]
    force: bool = False
    ready_ms: Annotated[int, Field(ge=100, le=600_000)] = 60_000


@dataclass(frozen=True, kw_only=True)
class OfServer:
    """About one server: its name or address, and what else it takes to tell it from others."""

    server: str
    pool: str | None = None
    backup: bool | None = None


@dataclass(frozen=True)
class Hot:
    verb: Literal["hot"]
    count: Annotated[int, Field(ge=1, le=MOST_SHOWN)] = 20


@dataclass(frozen=True)
class Slow:
    verb: Literal["slow"]
    count: Annotated[int, Field(ge=1, le=MOST_SHOWN)] = 100


@dataclass(frozen=True, kw_only=True)
class Tap:
    """`server`, `pool`, `backup`: one server, as in OfServer; without `server` any."""

    verb: Literal["tap"]
    prefix: Annotated[str, Field(max_length=250)] = ""
    server: str | None = None
    pool: str | None = None
    backup: bool | None = None
    of_verb: str = ""
    per_s: Annotated[int, Field(ge=1, le=MOST_TAPPED_PER_S)] = 100


@dataclass(frozen=True, kw_only=True)
class Look(OfServer):
    verb: Literal["server"]


@dataclass(frozen=True, kw_only=True)
class FlushServer(OfServer):
    verb: Literal["flush_server"]
    confirm: Literal["flush_all"]


@dataclass(frozen=True, kw_only=True)
class Drain(OfServer):
    verb: Literal["drain"]
    force: bool = False
    wait: bool = True


@dataclass(frozen=True, kw_only=True)
class Undrain(OfServer):
    verb: Literal["undrain"]
    wait: bool = True


@dataclass(frozen=True, kw_only=True)
class Replace(OfServer):
    verb: Literal["replace"]
    address: str
    force: bool = False
    keep_data: bool = False
    wait: bool = True


@dataclass(frozen=True, kw_only=True)
class Rewarm(OfServer):
    verb: Literal["rewarm"]
    wait: bool = True


@dataclass(frozen=True, kw_only=True)
class RewarmControl(OfServer):
    verb: Literal["rewarm_pause", "rewarm_resume", "rewarm_abort"]


@dataclass(frozen=True, kw_only=True)
class MigrationControl:
    """`pool`: whose migration; None where there is but one."""

    verb: Literal["migration_pause", "migration_resume", "migration_abort"]
    pool: str | None = None


OfProxy = Snapshot | Metrics | Counters | Config | Reload | LogLevel | Flush | Hot | Slow | Tap | Upgrade
Request = OfProxy | MigrationControl | Look | FlushServer | Drain | Undrain | Replace | Rewarm | RewarmControl


@cache
def _reader() -> TypeAdapter[Request]:
    """Made for the first request: it takes time, and most proxies start without being asked anything."""
    strict = ConfigDict(extra="forbid", strict=True)
    return TypeAdapter(Annotated[Request, Field(discriminator="verb")], config=strict)


def read_request(line: bytes) -> Request:
    """RefusedError says what is wrong with it."""
    try:
        return _reader().validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    match first["type"]:
        case "json_invalid":
            raise InvalidError("that is no JSON", "one object a line") from None
        case "union_tag_not_found" | "dict_type" | "dataclass_type" | "model_attributes_type":
            raise InvalidError('a request is an object with a "verb"') from None
        case "union_tag_invalid":
            verb = quoted(first["ctx"]["tag"])
            hint = f"known are {first['ctx']['expected_tags']}"
            raise InvalidError(f"unknown verb {verb}", hint.replace("'", "")) from None
    where = ".".join(str(part) for part in first["loc"][1:])
    raise InvalidError(f"{where}: {first['msg']}" if where else first["msg"]) from None
