"""A small honest memcached in memory: a dict, and the protocol as a proxy may speak it.

`Store` knows what the verbs do; tests use it twice: behind the proxy, and as the model of what a client
should see. For that, a cas unique is the number of writes to its key: one store answers as many together do.
"""

import re

from . import fake_meta

MAX_LINE_BYTES = 2048  # memcached closes the connection on a longer line, unless it is a get
MAX_GET_LINE_BYTES = 8 * 1024 + 16

REFUSAL = b"SERVER_ERROR out of memory storing object\r\n"
META = (b"mg", b"ms", b"md", b"ma", b"me")
STORAGE = (b"set", b"add", b"replace", b"append", b"prepend", b"cas")


class Store:
    """Items never expire by themselves; a negative time is already over, as in memcached."""

    def __init__(self) -> None:
        self.items: dict[bytes, tuple[bytes, bytes]] = {}
        self.writes: dict[bytes, int] = {}

    def apply(
        self, verb: bytes, keys: tuple[bytes, ...], args: tuple[bytes, ...], value: bytes | None
    ) -> bytes:
        """The reply to one request; `args` are the words behind the keys (gat: before them)."""
        if verb in (b"get", b"gets", b"gat", b"gats"):
            return self._retrieve(verb, keys, args)
        if verb in STORAGE:
            assert value is not None
            return self._store(verb, keys[0], args, value)
        if verb in (b"incr", b"decr"):
            return self._count(verb, keys[0], int(args[0]))
        if verb == b"flush_all":
            if not args:
                self.items.clear()
            return b"OK\r\n"
        if keys[0] not in self.items:
            return b"NOT_FOUND\r\n"
        if verb == b"delete":
            del self.items[keys[0]]
            return b"DELETED\r\n"
        assert verb == b"touch", verb
        self._touch(keys[0], args[0])
        return b"TOUCHED\r\n"

    def forget(self, key: bytes) -> None:
        self.items.pop(key, None)

    def _write(self, key: bytes, flags: bytes, value: bytes, exptime: bytes = b"0") -> bytes:
        self.writes[key] = self.writes.get(key, 0) + 1
        self.items[key] = (flags, value)
        self._touch(key, exptime)
        return b"STORED\r\n"

    def _touch(self, key: bytes, exptime: bytes) -> None:
        if int(exptime) < 0:
            del self.items[key]

    def _retrieve(self, verb: bytes, keys: tuple[bytes, ...], args: tuple[bytes, ...]) -> bytes:
        found = []
        for key in keys:
            if key not in self.items:
                continue
            flags, value = self.items[key]
            unique = b" %d" % self.writes[key] if verb in (b"gets", b"gats") else b""
            found.append(b"VALUE %b %b %d%b\r\n%b\r\n" % (key, flags, len(value), unique, value))
            if args:
                self._touch(key, args[0])
        return b"".join(found) + b"END\r\n"

    def _store(self, verb: bytes, key: bytes, args: tuple[bytes, ...], value: bytes) -> bytes:
        flags, exptime = b"%d" % (int(args[0]) % 2**32), args[1]
        old = self.items.get(key)
        if verb == b"cas":
            if old is None:
                return b"NOT_FOUND\r\n"
            if self.writes[key] != int(args[3]):
                return b"EXISTS\r\n"
        elif (verb == b"add" and old) or (verb in (b"replace", b"append", b"prepend") and not old):
            return b"NOT_STORED\r\n"
        if verb in (b"append", b"prepend") and old:
            joined = old[1] + value if verb == b"append" else value + old[1]
            return self._write(key, old[0], joined)
        return self._write(key, flags, value, exptime)

    def _count(self, verb: bytes, key: bytes, delta: int) -> bytes:
        if key not in self.items:
            return b"NOT_FOUND\r\n"
        flags, value = self.items[key]
        if not re.fullmatch(rb"\d{1,20} *", value) or int(value) >= 2**64:
            return b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"
        number = (int(value) + delta) % 2**64 if verb == b"incr" else max(0, int(value) - delta)
        self._write(key, flags, (b"%d" % number).ljust(len(value)))  # a shorter number is padded
        return b"%d\r\n" % number


class Conversation:
    """One connection to a memcached. Strict: an AssertionError says that the proxy sent what it must not."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.lines: list[bytes] = []
        self.refusals = 0  # of the next requests so many are refused and not done
        self._inbox = b""

    def receive(self, data: bytes) -> list[bytes]:
        """The replies to the requests that `data` completes, one for each."""
        self._inbox += data
        replies = []
        while (reply := self._next()) is not None:
            replies.append(reply)
        return replies

    def _next(self) -> bytes | None:
        line, end, rest = self._inbox.partition(b"\n")
        if not end:
            return None
        assert line.endswith(b"\r"), f"a line without CR: {line!r}"
        line = line[:-1]
        verb, *words = line.split()
        is_get = verb in (b"get", b"gets")
        assert len(line) + 2 <= (MAX_GET_LINE_BYTES if is_get else MAX_LINE_BYTES), (
            f"{len(line)} bytes: {line[:80]!r}"
        )
        assert line == line.strip(b" "), f"spaces around {line!r}"
        keys, args, value = tuple(words[:1]), tuple(words[1:]), None
        if verb in STORAGE:
            assert len(words) == (5 if verb == b"cas" else 4), line
            length = int(words[3])
            if len(rest) < length + 2:
                return None
            value, tail, rest = rest[:length], rest[length : length + 2], rest[length + 2 :]
            assert tail == b"\r\n", f"a data block that ends in {tail!r}"
        elif verb == b"ms":
            length = int(words.pop(1))
            if len(rest) < length + 2:
                return None
            value, tail, rest = rest[:length], rest[length : length + 2], rest[length + 2 :]
            assert tail == b"\r\n", f"a data block that ends in {tail!r}"
        elif is_get:
            keys, args = tuple(words), ()
        elif verb in (b"gat", b"gats"):
            keys, args = tuple(words[1:]), tuple(words[:1])
        elif verb == b"flush_all":
            keys, args = (), tuple(words)
            assert b"noreply" not in words
        elif verb != b"version" and verb not in META:
            assert len(words) == (1 if verb == b"delete" else 2), line
        self._inbox = rest
        self.lines.append(line)
        if self.refusals:
            self.refusals -= 1
            return REFUSAL
        if verb == b"version":
            return b"VERSION 1.6.18\r\n"
        if verb in META:
            return fake_meta.answer(self.store, verb, words, value)
        assert keys or verb == b"flush_all"
        return self.store.apply(verb, keys, args, value)
