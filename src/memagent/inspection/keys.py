"""What a key may be: the rule of classic requests, and of meta requests without base64."""

from memagent.units import quoted

MOST_KEY_BYTES = 250
HINT = "a key has 1-250 bytes without a space or control character"


def problem_of(key: bytes) -> str | None:
    """Why the proxy would refuse this key, None if it takes it."""
    if not key:
        return "a key must not be empty"
    shown = quoted(as_text(key), most=60)
    if len(key) > MOST_KEY_BYTES:
        return f"key {shown} has {len(key)} bytes, more than {MOST_KEY_BYTES}"
    if any(byte <= 0x20 or byte == 0x7F for byte in key):
        return f"key {shown} has a space or a control character"
    return None


def visible(text: str) -> str:
    """A key's text for a terminal: whatever a client called it, it cannot steer one. Other bytes stay.

    What steers stands as its bytes: control characters (C1 too), what turns text round, what is not seen.
    """
    return "".join(c if c.isprintable() or "\udca0" <= c <= "\udcff" else _escaped(c) for c in text)


def shown(text: bytes) -> str:
    """What a client or a server has written, for people, all of it as `visible`. The bytes are lost."""
    return visible(text.decode(errors="backslashreplace"))


def _escaped(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode(errors="surrogateescape"))


def as_text(key: bytes) -> str:
    """For people and JSON; bytes that are no UTF-8 are kept as surrogates."""
    return key.decode(errors="surrogateescape")
