"""A memcached in memory for the re-warm: meta and classic commands, listings, lies where a test wants them.

    server = MetaServer({b"key": Stored(b"value")}, version="1.6.38")
    with Liar(server.serve) as liar: ...

`twist` sees every request line with the honest reply and returns what is said instead; None hangs up.
"""

import base64
import threading
from collections.abc import Callable
from dataclasses import dataclass

from .liar import Talk

Twist = Callable[[bytes, bytes], bytes | None]


@dataclass
class Stored:
    value: bytes
    flags: int = 0
    ttl: int = -1
    cas: int = 1


class MetaServer:
    def __init__(
        self,
        items: dict[bytes, Stored] | None = None,
        version: str = "1.6.38",
        speaks_meta: bool = True,
        twist: Twist = lambda line, reply: reply,
    ) -> None:
        self.items = items or {}
        self.pid = 1
        self.lines: list[bytes] = []
        self.twist = twist
        self._version = version.encode()
        self._speaks_meta = speaks_meta
        self._lock = threading.Lock()

    def serve(self, talk: Talk) -> None:
        while True:
            line = talk.line()
            words = line.split(b" ")
            value = None
            if words[0] in (b"ms", b"add"):
                value = talk.block(int(words[2] if words[0] == b"ms" else words[4]))
            with self._lock:
                self.lines.append(line)
                said = self.twist(line, self._answer(words, value))
            if said is None:
                raise ConnectionError("the twist hangs up")
            talk.say(said)

    def _answer(self, words: list[bytes], value: bytes | None) -> bytes:
        verb = words[0]
        if verb == b"stats":
            if len(words) > 1:
                return b"STAT item_size_max 1048576\r\nEND\r\n"
            facts = (self.pid, self._version, len(self.items), 100 * len(self.items))
            return b"STAT pid %d\r\nSTAT version %b\r\nSTAT curr_items %d\r\nSTAT bytes %d\r\nEND\r\n" % facts
        if verb == b"version":
            return b"VERSION %b\r\n" % self._version
        if verb == b"lru_crawler":
            return self._list(words)
        if verb == b"gets":
            found = [(key, self.items[key]) for key in words[1:] if key in self.items]
            return (
                b"".join(
                    b"VALUE %b %d %d %d\r\n%b\r\n" % (key, item.flags, len(item.value), item.cas, item.value)
                    for key, item in found
                )
                + b"END\r\n"
            )
        if verb == b"add" and value is not None:
            stored = self._store(words[1], Stored(value, int(words[2]), int(words[3]) or -1))
            return b"STORED\r\n" if stored else b"NOT_STORED\r\n"
        if verb == b"delete":
            return b"DELETED\r\n" if self.items.pop(words[1], None) else b"NOT_FOUND\r\n"
        return self._answer_meta(words, value) if self._speaks_meta else b"ERROR\r\n"

    def _answer_meta(self, words: list[bytes], value: bytes | None) -> bytes:
        verb, flags = words[0], words[2:] if words[0] != b"ms" else words[3:]
        if verb == b"mn":
            return b"MN\r\n"
        name = words[1]
        key = base64.b64decode(name) if b"b" in flags else name
        opaque = b"".join(b" " + flag for flag in flags if flag[:1] == b"O")
        if verb == b"mg":
            item = self.items.get(key)
            if item is None:
                return b"" if b"q" in flags else b"EN\r\n"
            if b"v" not in flags:
                return b"HD%b\r\n" % opaque
            shown = name + (b" b" if b"b" in flags else b"")
            named = b" k" + shown if b"k" in flags else opaque
            facts = (len(item.value), item.flags, item.ttl, item.cas, named, item.value)
            return b"VA %d f%d t%d c%d%b\r\n%b\r\n" % facts
        if verb == b"ms" and value is not None:
            given = {flag[:1]: int(flag[1:]) for flag in flags if flag[:1] in (b"F", b"T", b"E")}
            item = Stored(value, given[b"F"], given.get(b"T", -1), given.get(b"E", 1))
            return b"" if self._store(key, item) else b"NS%b\r\n" % opaque
        assert verb == b"md", words
        self.items.pop(key, None)
        return b""

    def _store(self, key: bytes, item: Stored) -> bool:
        if key in self.items:
            return False
        self.items[key] = item
        return True

    def _list(self, words: list[bytes]) -> bytes:
        if words[1] == b"mgdump":
            return b"".join(b"mg %b\r\n" % key for key in self.items) + b"EN\r\n"
        return (
            b"".join(
                b"key=%b exp=%d la=1 cas=%d fetch=no cls=1 size=67\n" % (key, item.ttl, item.cas)
                for key, item in self.items.items()
            )
            + b"END\r\n"
        )
