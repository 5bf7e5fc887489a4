"""Text <-> numbers with a unit: the only place that knows suffixes.

Every parser takes what a person wrote and returns a whole number of the base unit; a ValueError says what is
allowed. What is not text is handed back untouched: a number is in the base unit already, and any other type
is the business of the caller.
"""

import re
from typing import Any

_NUMBER = re.compile(r"(?P<whole>[0-9][0-9_]*)(?:\.(?P<part>[0-9]+))?\s*(?P<suffix>[A-Za-z]*)", re.ASCII)

_US_PER = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_BYTES_PER = {"b": 1, "k": 2**10, "kib": 2**10, "m": 2**20, "mib": 2**20, "g": 2**30, "gib": 2**30}
_DECIMAL_BYTES = {"kb": "KiB", "mb": "MiB", "gb": "GiB"}
_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0"}

# What int() would take minutes to read is no setting.
_MOST_DIGITS = 19
_MOST_DIGITS_OF_64_BITS = 20


def _any_case(word: str) -> str:
    return "".join(f"[{letter}{letter.upper()}]" if letter.isalpha() else letter for letter in word)


# What the parsers below take, for JSON Schema; too many digits and parts that are not whole slip through.
_SPACE = r"[ \t]*"
_DIGITS = r"(0|[1-9][0-9_]*)"
COUNT_PATTERN = rf"^{_SPACE}{_DIGITS}{_SPACE}$"
TIME_PATTERN = rf"^{_SPACE}{_DIGITS}(\.[0-9]+)?{_SPACE}(us|ms|s|m|h|d)?{_SPACE}$"
SIZE_PATTERN = rf"^{_SPACE}{_DIGITS}(\.[0-9]+)?{_SPACE}([bB]|[kKmMgG]([iI][bB])?)?{_SPACE}$"
SWITCH_PATTERN = rf"^{_SPACE}({'|'.join(sorted(_any_case(word) for word in _TRUE | _FALSE))}){_SPACE}$"


def parse_us(value: Any) -> Any:
    """Microseconds: 250, "250us", "1.5ms", "2s"."""
    return _duration(value, "us") if isinstance(value, str) else value


def parse_ms(value: Any) -> Any:
    """Milliseconds: 250, "250ms", "1.5s", "5m"."""
    return _duration(value, "ms") if isinstance(value, str) else value


def parse_bytes(value: Any) -> Any:
    """Bytes: 1024, "64k", "16MiB". As with memcached's -I, k, m and g are powers of 1024."""
    if not isinstance(value, str):
        return value
    digits, part, suffix = _split(value, "a size", '"64k" or "16MiB"')
    if suffix.lower() in _DECIMAL_BYTES:
        raise ValueError(
            f"a size in {suffix} is ambiguous: write {_DECIMAL_BYTES[suffix.lower()]} (powers of 1024)"
        )
    factor = _BYTES_PER.get(suffix.lower() or "b")
    if factor is None:
        raise ValueError(f"unknown unit {quoted(suffix)}: a size ends in B, KiB, MiB or GiB (or k, m, g)")
    return _whole(digits, part, factor, 1, "bytes")


def parse_count(value: Any) -> Any:
    """A plain number of things: 4096, "4096", "1_000_000"."""
    if not isinstance(value, str):
        return value
    digits, part, suffix = _split(value, "a whole number", "4096")
    if part or suffix:
        raise ValueError("must be a whole number without a unit, such as 4096")
    return _whole(digits, "", 1, 1, "")


def parse_switch(value: Any) -> Any:
    """A setting that is on or off."""
    if not isinstance(value, str):
        return value
    word = value.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError("must be true or false")


def whole_number(text: str) -> int | None:
    """What a server says in digits; None: it is no number that makes sense."""
    is_number = text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS_OF_64_BITS
    return int(text) if is_number else None


def format_ms(value_ms: int) -> str:
    """The shortest exact text: 250ms, 1s, 5m."""
    return _format(value_ms * 1_000, ("d", "h", "m", "s", "ms"), _US_PER) if value_ms else "0"


def format_us(value_us: int) -> str:
    return _format(value_us, ("d", "h", "m", "s", "ms", "us"), _US_PER) if value_us else "0"


def format_bytes(value_bytes: int) -> str:
    """The shortest exact text: 64KiB, 16MiB, 1500B."""
    return _format(
        value_bytes,
        ("GiB", "MiB", "KiB", "B"),
        {name: _BYTES_PER[name.lower()] for name in ("GiB", "MiB", "KiB", "B")},
    )


def quoted(value: object, most: int = 100) -> str:
    """A user's own text for an error message: in quotes, on one line, printable and not endless."""
    text = str(value)
    shown = "".join(c if c.isprintable() and c not in '"\\' else _escaped(c) for c in text[:most])
    return f'"{shown}{"..." if len(text) > most else ""}"'


def _escaped(character: str) -> str:
    return "\\" + character if character in '"\\' else character.encode("unicode_escape").decode()


def _duration(text: str, base: str) -> int:
    digits, part, suffix = _split(text, "a time", '"250ms", "1s" or "5m"')
    factor = _US_PER.get(suffix or base)
    if factor is None:
        units = ", ".join(name for name, us in _US_PER.items() if us >= _US_PER[base])
        raise ValueError(f"unknown unit {quoted(suffix)}: a time ends in one of {units}")
    return _whole(digits, part, factor, _US_PER[base], base)


def _split(text: str, what: str, example: str) -> tuple[str, str, str]:
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"must be {what}, such as {example}")
    digits = match["whole"].replace("_", "")
    if len(digits) > _MOST_DIGITS or len(match["part"] or "") > _MOST_DIGITS:
        raise ValueError(f"too many digits for {what}")
    if len(digits) > 1 and digits.startswith("0"):
        # YAML 1.1 and C read 010 as eight: better to ask than to guess
        raise ValueError("must not start with 0")
    return digits, match["part"] or "", match["suffix"]


def _whole(digits: str, part: str, factor: int, base: int, name: str) -> int:
    scale = int(10 ** len(part))
    value, rest = divmod(int(digits + part) * factor, scale * base)
    if rest:
        raise ValueError(f"must be a whole number of {name}")
    return value


def _format(value: int, names: tuple[str, ...], per: dict[str, int]) -> str:
    for name in names:
        if value % per[name] == 0:
            return f"{value // per[name]}{name}"
    return str(value)
