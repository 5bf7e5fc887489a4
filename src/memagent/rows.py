"""A row of the table of settings: how it is declared, what its values look like, how one is read.

    weight: Count = setting("Its share of the keys", 1, "count", ge=1, le=65535)
              │
              ├─▶ read_setting(model, name, text)   the value, or a ValueError that says what is allowed
              └─▶ settings_of(model)                the row in words, for messages and docs

A row knows nothing of other rows: rules between settings stand beside the table.
"""

import os
from functools import cache
from typing import Annotated, Any, NamedTuple, get_args, get_origin
from urllib.parse import urlsplit

from annotated_types import Ge, Le
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticUndefined

from memagent.addresses import parse_address, parse_listen
from memagent.units import format_bytes, format_ms, parse_bytes, parse_count, parse_ms, parse_switch

WORD = "1-255 characters without a space"
PATH = "an absolute path"
LISTEN = "host:port, [v6]:port, unix:/path or a port"
PREFIX = "at most 249 bytes without a space or control character"
SECRET = "1-4096 characters on one line"  # noqa: S105 - words, not one
URL = "http://HOST:PORT or https://HOST:PORT, with a path or without"
TAG = 'two printable ASCII characters such as "{}", or "" for none'

# A file's scalars are read as written: a name may look like a number.
_ONE_LINE: dict[str, Any] = {"type": ["string", "number", "boolean"], "minLength": 1, "maxLength": 4096}
WORD_SCHEMA: dict[str, Any] = {**_ONE_LINE, "maxLength": 255, "pattern": "^[^ ]+$"}


# ---------------------------------------------------------------- kinds of values


def _text_that_prints(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must have no control character")
    return value


def _address(value: str) -> str:
    parse_address(value)
    return value


def _listen(value: str) -> str:
    parse_listen(value)
    return value


def _word(value: str) -> str:
    if not value or " " in value or len(value) > 255:
        raise ValueError(f"must be {WORD}")
    return _text_that_prints(value)


def _prefix(value: str) -> str:
    try:
        text = value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"must be {PREFIX}") from None
    if len(text) > 249 or any(byte <= 32 or byte == 127 for byte in text):
        raise ValueError(f"must be {PREFIX}: no key begins with it")
    return _text_that_prints(value)


def _absolute(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError(f"must be {PATH}")
    return _text_that_prints(value)


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        is_good = (
            parts.scheme in ("http", "https")
            and parts.hostname
            and parts.port != 0
            and parts.username is None
        )
    except ValueError:
        is_good = False
    if not is_good or not value.isascii() or " " in value or "?" in value or "#" in value:
        raise ValueError(f"must be {URL}")
    return _text_that_prints(value)


def _tag(value: str) -> str:
    if value and (len(value) != 2 or not value.isascii() or not value.isprintable() or " " in value):
        raise ValueError(f"must be {TAG}")
    return value


def _secret(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text or len(text) > 4096 or not text.isprintable():
        raise ValueError(f"must be {SECRET}")
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
ListenText = Annotated[
    str, AfterValidator(_listen), WithJsonSchema({"type": ["string", "integer"], "minLength": 1})
]
Word = Annotated[str, AfterValidator(_word), WithJsonSchema(WORD_SCHEMA)]
Prefix = Annotated[
    str,
    AfterValidator(_prefix),
    WithJsonSchema({"type": ["string", "number", "boolean"], "maxLength": 249, "pattern": "^[^ ]*$"}),
]
Path = Annotated[str, AfterValidator(_absolute), WithJsonSchema({"type": "string", "pattern": "^/"})]
Url = Annotated[str, AfterValidator(_url), WithJsonSchema({"type": "string", "pattern": "^https?://."})]
Tag = Annotated[
    str, AfterValidator(_tag), WithJsonSchema({"type": ["string", "integer"], "pattern": "^([!-~]{2})?$"})
]

# What nobody may see: `x: Secret` can also be given as `x_file`. In JSON and on the screen it is stars.
Secret = Annotated[SecretStr, AfterValidator(_secret), WithJsonSchema(_ONE_LINE)]


def setting(
    description: str,
    default: Any = PydanticUndefined,
    unit: str | None = None,
    shown: str | None = None,
    allowed: str | None = None,
    words: tuple[str, ...] = (),
    at_start: bool = False,
    **bounds: Any,
) -> Any:
    """One row of the table. `shown` and `allowed` are words where default and bounds do not say it.

    `words` are what may stand for a number. `at_start`: a process is made with it, or what all that it
    has was made with; a running proxy keeps what it has.
    """
    extra: dict[str, Any] = {
        "unit": unit,
        "shown": shown,
        "allowed": allowed,
        "words": list(words),
        "at_start": at_start,
    }
    strict = True if unit is not None else None
    return Field(default, description=description, json_schema_extra=extra, strict=strict, **bounds)


def derived(description: str, default: Any = PydanticUndefined, allowed: str | None = None) -> Any:
    """A value that memagent works out: no setting, so not in any file and not in the docs."""
    return Field(default, description=description, json_schema_extra={"derived": True, "allowed": allowed})


# ---------------------------------------------------------------- reading a row


class Setting(NamedTuple):
    """One row of the table, as readers and docs see it."""

    name: str
    description: str
    unit: str | None
    default: str | None
    allowed: str
    required: bool
    many: bool
    secret: bool
    words: tuple[str, ...]
    at_start: bool


def settings_of(model: type[BaseModel]) -> dict[str, Setting]:
    """The rows of a model that a user may set, in the order of the table."""
    rows = {}
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        assert isinstance(extra, dict)
        if extra.get("derived"):
            continue
        words = extra["words"]
        assert isinstance(words, list)
        unit = str(extra["unit"]) if extra["unit"] else None
        default = extra["shown"] or (None if field.is_required() else _show(field.default, unit))
        rows[name] = Setting(
            name=name,
            description=field.description or "",
            unit=unit,
            default=None if default is None else str(default),
            allowed=_allowed(model, name),
            required=default is None,
            many=get_origin(field.annotation) is tuple,
            secret=_is_secret(field.annotation),
            words=tuple(map(str, words)),
            at_start=bool(extra["at_start"]),
        )
    return rows


def secret_of(model: type[BaseModel], name: str) -> str | None:
    """`token` for `token_file`, if that is a secret of the table."""
    secret = name.removesuffix("_file")
    rows = settings_of(model)
    return secret if secret != name and name not in rows and secret in rows and rows[secret].secret else None


def read_setting(model: type[BaseModel], name: str, value: Any) -> Any:
    """One value as the table wants it, from text or from Python; ValueError says what is allowed."""
    try:
        return _adapter(model, name).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "value_error":
            raise ValueError(str(first["ctx"]["error"])) from None
        raise ValueError(f"must be {_allowed(model, name)}") from None


def show_setting(model: type[BaseModel], name: str, value: Any) -> str:
    """A value for people; a secret is not shown."""
    if value is None:
        return "none"
    if isinstance(value, SecretStr):
        return "(secret)"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return _show(value, settings_of(model)[name].unit) or '""'


def bounds_of(model: type[BaseModel], name: str) -> tuple[int, int]:
    """The least and the most of a setting with a unit."""
    metadata = model.model_fields[name].metadata
    low: Any = next(item.ge for item in metadata if isinstance(item, Ge))
    high: Any = next(item.le for item in metadata if isinstance(item, Le))
    return low, high


def json_schema_of(model: type[BaseModel], name: str) -> dict[str, Any]:
    """Of a setting without a unit, as it stands in a file."""
    return _adapter(model, name).json_schema()


@cache
def _adapter(model: type[BaseModel], name: str) -> TypeAdapter[Any]:
    field = model.model_fields[name]
    whole: Any = field.annotation
    if field.metadata:  # an optional one carries its rules inside its type
        whole = Annotated[(whole, *field.metadata)]
    return TypeAdapter(whole)


def _is_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(map(_is_secret, get_args(annotation)))


def _allowed(model: type[BaseModel], name: str) -> str:
    field = model.model_fields[name]
    extra = field.json_schema_extra
    assert isinstance(extra, dict)
    if extra.get("allowed"):
        return str(extra["allowed"])
    if _is_secret(field.annotation):
        return f"{SECRET}; or `{name}_file`"
    choices = [choice for choice in get_args(field.annotation) if isinstance(choice, str)]
    if choices:
        return "one of " + ", ".join(choices)
    unit = str(extra["unit"])
    if unit == "switch":
        return "true or false"
    low, high = bounds_of(model, name)
    words = {"ms": "a time", "bytes": "a size", "count": "a whole number"}[unit]
    return f"{words} from {_show(low, unit)} to {_show(high, unit)}"


def _show(value: Any, unit: str | None) -> str:
    """A setting's value as a person writes it."""
    if unit == "ms":
        return format_ms(value)
    if unit == "bytes":
        return format_bytes(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
