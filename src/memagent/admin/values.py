"""What a value looks like, by its first bytes: a name for people. Nothing of it is decoded or executed."""

import re
from typing import Final

from memagent.inspection.keys import shown

_PICKLE_PROTOCOLS: Final = range(2, 6)
_PHP: Final = re.compile(rb'(?:a:\d+:\{|O:\d+:"(?P<name>[\w\\]{1,200})"|s:\d+:"|[id]:-?\d[\d.]*;|b:[01];|N;)')
_JAVA_CLASS_AT: Final = 6


def kind_of(start: bytes) -> str | None:
    """None: nothing that is known, text and JSON included."""
    for name in (_pickle(start), _java(start), _php(start)):
        if name is not None:
            return name
    return next((name for magic, name in _MAGICS if start.startswith(magic)), None)


def _pickle(start: bytes) -> str | None:
    """From protocol 2 on it says so itself; before, nothing tells it from text for sure."""
    if len(start) > 2 and start[0] == 0x80 and start[1] in _PICKLE_PROTOCOLS:
        return f"Python pickle, protocol {start[1]}"
    return None


def _java(start: bytes) -> str | None:
    if not start.startswith(b"\xac\xed\x00\x05"):
        return None
    kind = "Java serialisation"
    if start[4:6] == b"sr":
        length = int.from_bytes(start[_JAVA_CLASS_AT : _JAVA_CLASS_AT + 2], "big")
        name = start[_JAVA_CLASS_AT + 2 : _JAVA_CLASS_AT + 2 + min(length, 200)]
        if name:
            kind += f" of {shown(name)}"
    return kind


def _php(start: bytes) -> str | None:
    if start.startswith(b"\x00\x00\x00\x02"):
        return "PHP igbinary"
    found = _PHP.match(start)
    if found is None:
        return None
    name = found["name"]
    return f"PHP serialisation of {name.decode()}" if name else "PHP serialisation"


_MAGICS: Final = (
    (b"\x04\x08", "Ruby Marshal"),
    (b"\x1f\x8b\x08", "gzip"),
    (b"\x78\x01", "zlib"),
    (b"\x78\x9c", "zlib"),
    (b"\x78\xda", "zlib"),
    (b"\x28\xb5\x2f\xfd", "Zstandard"),
    (b"\x04\x22\x4d\x18", "LZ4"),
    (b"\x89PNG\r\n", "PNG image"),
    (b"\xff\xd8\xff", "JPEG image"),
)
