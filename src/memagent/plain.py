"""Dataclasses of plain values, through JSON and back.

Plain are texts, numbers and booleans, Literals, tuples and dictionaries of plain values, other such
dataclasses, what may be None instead, and Any. Made of the standard library alone: what is read with it
starts fast.
"""

import dataclasses
import json
from collections.abc import Mapping
from functools import cache
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

_Table = TypeVar("_Table")


def as_json(table: Any) -> dict[str, Any]:
    """A dataclass of plain values as what json.dumps takes."""
    return dataclasses.asdict(table)


def from_json(kind: type[_Table], value: Any, strict: bool = False) -> _Table:
    """The way back. Names that `kind` does not have are passed over; with `strict` they are a mistake.

    ValueError if a name is missing that has no default, or has a value that it cannot have.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{kind.__name__}: not an object")
    found, fields = {}, _fields(kind)  # type: ignore[arg-type]  # a class is hashable
    for name, (hint, is_needed) in fields.items():
        if name in value:
            try:
                found[name] = _read(hint, value[name], strict)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        elif is_needed:
            raise ValueError(f"{kind.__name__}: {name} is missing")
    if strict and (unknown := value.keys() - fields.keys()):
        raise ValueError(f"{kind.__name__} has no {min(unknown)[:100]!r}")
    return kind(**found)


def kinds_of(union: Any) -> dict[str, Any]:
    """The dataclasses of a union by their `type`, a Literal of one text that is its own default."""
    return {each.type: each for each in get_args(union)}


def read_one(kinds: Mapping[str, type[_Table]], text: bytes | str, strict: bool = False) -> _Table:
    """The JSON of one of these kinds. ValueError says what is wrong with it."""
    value = parsed(text)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    kind = kinds.get(str(value.get("type")))
    if kind is None:
        raise ValueError(f"its type is none of {', '.join(kinds)}")
    return from_json(kind, value, strict)


def parsed(text: bytes | str) -> Any:
    """Any JSON. ValueError says why it is none."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def write_one(table: Any) -> bytes:
    """As JSON. ValueError: a text in it that is no UTF-8."""
    return json.dumps(table, default=vars, ensure_ascii=False, separators=(",", ":")).encode()


@cache
def _fields(kind: Any) -> dict[str, tuple[Any, bool]]:
    """By their names: what may be in them, and whether they have no default."""
    hints = get_type_hints(kind)
    return {
        each.name: (hints[each.name], each.default is each.default_factory is dataclasses.MISSING)
        for each in dataclasses.fields(kind)
    }


def _read(hint: Any, value: Any, strict: bool) -> Any:
    if hint is Any:
        return value
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        if value is None:
            return None
        return _read(next(each for each in parts if each is not type(None)), value, strict)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ValueError("not a list")
        return tuple(_read(parts[0], each, strict) for each in value)
    if origin is dict:
        if not isinstance(value, dict):
            raise ValueError("not an object")
        return {name: _read(parts[1], each, strict) for name, each in value.items()}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return from_json(hint, value, strict)
    # parts: of a Literal; JSON does not tell 1.0 from 1, and True is no number
    if value not in parts if parts else type(value) not in ((int, float) if hint is float else (hint,)):
        raise ValueError(f"{str(value)[:100]!r} cannot be")
    return value
