"""The meta verbs of the small honest memcached (fake_memcached.py): enough for a proxy that passes them on.

Nothing becomes stale and no client wins anything: X, Z and W are never said.
"""

from typing import Protocol

from tests.reference.requests import decode_key

MODES = {b"S": b"set", b"E": b"add", b"R": b"replace", b"A": b"append", b"P": b"prepend"}
CODES = {b"STORED": b"HD", b"NOT_STORED": b"NS", b"NOT_FOUND": b"NF", b"EXISTS": b"EX"}


class Items(Protocol):
    items: dict[bytes, tuple[bytes, bytes]]
    writes: dict[bytes, int]

    def apply(
        self, verb: bytes, keys: tuple[bytes, ...], args: tuple[bytes, ...], value: bytes | None
    ) -> bytes: ...

    def forget(self, key: bytes) -> None: ...


def answer(store: Items, verb: bytes, words: list[bytes], value: bytes | None) -> bytes:
    """The reply to one meta request; `words` are those behind its verb (and without the length of ms)."""
    text, *flags = words
    assert not any(flag.startswith(b"q") for flag in flags), f"a quiet request: {flags}"
    known = {flag[:1]: flag[1:] for flag in flags}
    assert len(known) == len(flags), f"a flag twice: {flags}"
    if any(letter not in b"bcfhklstuvxTNRCEFJDMIOPL" for letter in known):
        return b"CLIENT_ERROR invalid flag\r\n"
    key = decode_key(text) if b"b" in known else text
    assert key
    if verb == b"me":
        return b"ME %b exp=-1 la=0\r\n" % text if key in store.items else b"EN\r\n"
    request = Request(store, key, text, flags, known)
    match verb:
        case b"mg":
            return request.get()
        case b"ms":
            assert value is not None
            return request.set(value)
        case b"md":
            return request.delete()
    return request.count()


class Request:
    def __init__(
        self, store: Items, key: bytes, text: bytes, flags: list[bytes], known: dict[bytes, bytes]
    ) -> None:
        self.store = store
        self.key = key
        self.text = text
        self.flags = flags
        self.known = known

    def get(self) -> bytes:
        if self.key not in self.store.items and b"N" in self.known:
            self.store.apply(b"set", (self.key,), (b"0", self.known[b"N"]), b"")
        if self.key not in self.store.items:
            return self._line(b"EN", b"kO")
        _, value = self.store.items[self.key]
        reply = self._hit(value if b"v" in self.known else None)
        self._touch()
        return reply

    def set(self, value: bytes) -> bytes:
        verb = MODES[self.known.get(b"M", b"S")]
        flags, exptime = self.known.get(b"F", b"0"), self.known.get(b"T", b"0")
        unique = self.known.get(b"C")
        if unique is not None and verb != b"add":
            if self.key not in self.store.items and verb in (b"set", b"replace"):
                return self._line(b"NF", b"kO")
            if self.key in self.store.items and int(unique) != self.store.writes[self.key]:
                return self._line(b"EX", b"kO")
        reply = self.store.apply(verb, (self.key,), (flags, exptime), value)
        return self._line(CODES[reply[:-2]], b"kOc")

    def delete(self) -> bytes:
        if self.key not in self.store.items:
            return self._line(b"NF", b"kO")
        if self._is_other():
            return self._line(b"EX", b"kO")
        self.store.forget(self.key)
        return self._line(b"HD", b"kO")

    def count(self) -> bytes:
        if self.key in self.store.items and self._is_other():
            return self._line(b"EX", b"kO")
        if self.key in self.store.items or b"N" not in self.known:
            verb = b"decr" if self.known.get(b"M", b"I") in (b"D", b"-") else b"incr"
            reply = self.store.apply(verb, (self.key,), (self.known.get(b"D", b"1"),), None)
            if not reply[:-2].isdigit():
                return self._line(b"NF", b"kO") if reply == b"NOT_FOUND\r\n" else reply
        else:
            reply = b"%d\r\n" % int(self.known.get(b"J", b"0"))
            self.store.apply(b"set", (self.key,), (b"0", self.known[b"N"]), reply[:-2])
            if self.key not in self.store.items:
                return self._line(b"HD", b"kO")
        line = self._hit(reply[:-2] if b"v" in self.known else None)
        self._touch()
        return line

    def _is_other(self) -> bool:
        return b"C" in self.known and int(self.known[b"C"]) != self.store.writes[self.key]

    def _touch(self) -> None:
        if b"T" in self.known and self.key in self.store.items:
            self.store.apply(b"touch", (self.key,), (self.known[b"T"],), None)

    def _hit(self, value: bytes | None) -> bytes:
        if value is None:
            return self._line(b"HD", b"kOcfst")
        return self._line(b"VA %d" % len(value), b"kOcfst") + value + b"\r\n"

    def _line(self, code: bytes, wanted: bytes) -> bytes:
        words = [code]
        flags, value = self.store.items.get(self.key, (b"0", b""))
        said = {
            b"k": b"k" + self.text + (b" b" if b"b" in self.known else b""),
            b"c": b"c%d" % self.store.writes.get(self.key, 0),
            b"f": b"f" + flags,
            b"s": b"s%d" % len(value),
            b"t": b"t-1",
        }
        for flag in self.flags:
            if flag[:1] in wanted:
                words.append(said.get(flag[:1], flag))
        return b" ".join(words) + b"\r\n"
