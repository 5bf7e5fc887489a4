"""The slow, obvious twin of `memagent._core.request.RequestParser`: client bytes in, events out.

    ("request", verb, keys, args, quiet, value)   args: the tokens a verb needs besides its keys, in order
    ("too_large", key, reply, quiet)              a `set` past max_item_bytes: answer; the old value must go
    ("error", reply, quiet)                       answer here (nothing where quiet) and go on
    ("fatal", reply)                              answer and close; no event ever follows

Written from behaviour.md sections 2 and 5 and from what memcached 1.6.18 and 1.6.38 answer (tests/protocol).
Three deliberate differences from memcached: a bad key has its own text and its data block is swallowed; a
line may be 1 MiB (get, gets) or 4 KiB long; a number is digits with at most a sign, because what is passed on
must be read by every server in the same way (memcached takes "3\\t9" for 3, and the length 4294967299 too).
"""

from collections.abc import Callable

Event = tuple[object, ...]

MAX_LINE_BYTES = 4096
MAX_GET_LINE_BYTES = 1 << 20
MAX_KEY_BYTES = 250
MAX_NUMBER_BYTES = 64
MAX_LENGTH = 2**31 - 3

ERROR = b"ERROR\r\n"
BAD_FORMAT = b"CLIENT_ERROR bad command line format\r\n"
BAD_KEY = b"CLIENT_ERROR bad key\r\n"
BAD_CHUNK = b"CLIENT_ERROR bad data chunk\r\n"
BAD_DELTA = b"CLIENT_ERROR invalid numeric delta argument\r\n"
BAD_EXPTIME = b"CLIENT_ERROR invalid exptime argument\r\n"
BAD_DELETE = b"CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n"
TOO_LARGE = b"SERVER_ERROR object too large for cache\r\n"
LINE_TOO_LONG = b"CLIENT_ERROR line too long\r\n"
NOTHING_FOUND = b"END\r\n"

STORAGE = (b"set", b"add", b"replace", b"append", b"prepend", b"cas")
PLAIN = (b"version", b"stats", b"quit", b"mn")


def number(token: bytes, lowest: int, highest: int) -> int | None:
    """Digits with at most a sign (a minus only where it can mean something), else None."""
    signs = (b"+", b"-") if lowest < 0 else (b"+",)
    digits = token[1:] if token.startswith(signs) else token
    if len(token) > MAX_NUMBER_BYTES or not digits or any(c not in b"0123456789" for c in digits):
        return None
    value = int(token)
    return value if lowest <= value <= highest else None


def unsigned(token: bytes) -> int | None:
    return number(token, 0, 2**64 - 1)


def exptime(token: bytes) -> int | None:
    return number(token, -(2**63), 2**63 - 1)


def length(token: bytes) -> int | None:
    return number(token, 0, MAX_LENGTH)


def is_key(token: bytes) -> bool:
    return len(token) <= MAX_KEY_BYTES and all(c > 32 and c != 127 for c in token)


class RequestParser:
    """Feed it bytes; it gives the events that they complete and keeps the rest."""

    def __init__(self, max_item_bytes: int) -> None:
        self.max_item_bytes = max_item_bytes
        self._left = b""
        self._swallow_bytes = 0
        self._header: tuple[str, bytes, tuple[bytes, ...], bool, int] | None = None
        self._closed = False

    def feed(self, data: bytes) -> list[Event]:
        self._left += data
        events: list[Event] = []
        while not self._closed:
            before = (self._left, self._swallow_bytes, self._header)
            event = self._next()
            if event is not None:
                events.append(event)
            elif before == (self._left, self._swallow_bytes, self._header):
                break
        return events

    def _next(self) -> Event | None:
        """One step: swallow, or complete a data block, or read a line."""
        if self._swallow_bytes:
            taken = min(self._swallow_bytes, len(self._left))
            self._left = self._left[taken:]
            self._swallow_bytes -= taken
            return None
        if self._header is not None:
            return self._data_block()
        line_end = self._left.find(b"\n", 0, MAX_LINE_BYTES)
        if line_end < 0 and len(self._left) >= MAX_LINE_BYTES:
            head = self._left[:MAX_LINE_BYTES].lstrip(b" ")
            if len(head) < 5 or not head.startswith((b"get ", b"gets ")):
                return self._fatal()
            line_end = self._left.find(b"\n", 0, MAX_GET_LINE_BYTES)
            if line_end < 0 and len(self._left) >= MAX_GET_LINE_BYTES:
                return self._fatal()
        if line_end < 0:
            return None
        line = self._left[:line_end]
        self._left = self._left[line_end + 1 :]
        return self._line(line.removesuffix(b"\r"))

    def _fatal(self) -> Event:
        self._closed = True
        self._left = b""
        return ("fatal", LINE_TOO_LONG)

    def _data_block(self) -> Event | None:
        assert self._header is not None
        verb, key, args, quiet, value_bytes = self._header
        if len(self._left) < value_bytes + 2:
            return None
        block = self._left[: value_bytes + 2]
        self._left = self._left[value_bytes + 2 :]
        self._header = None
        if not block.endswith(b"\r\n"):
            return ("error", BAD_CHUNK, quiet)
        return ("request", verb, (key,), args, quiet, block[:-2])

    def _line(self, line: bytes) -> Event | None:
        tokens = [token for token in line.split(b" ") if token]
        if not tokens:
            return ("error", ERROR, False)
        verb, rest = tokens[0], tokens[1:]
        if verb in PLAIN:
            return ("request", verb.decode(), (), tuple(rest), False, None)
        parse: Callable[[bytes, list[bytes]], Event | None] | None = {
            b"get": self._get,
            b"gets": self._get,
            b"gat": self._gat,
            b"gats": self._gat,
            b"incr": self._count,
            b"decr": self._count,
            b"touch": self._touch,
            b"delete": self._delete,
            b"flush_all": self._flush_all,
            b"verbosity": self._verbosity,
            **dict.fromkeys(STORAGE, self._storage),
        }.get(verb)
        if parse is None:
            return ("error", ERROR, False)
        return parse(verb, rest)

    # --- retrieval

    def _get(self, verb: bytes, rest: list[bytes]) -> Event:
        if not rest:
            return ("error", ERROR, False)
        return self._retrieval(verb, rest, ())

    def _gat(self, verb: bytes, rest: list[bytes]) -> Event:
        if not rest:
            return ("error", ERROR, False)
        if exptime(rest[0]) is None:
            return ("error", BAD_EXPTIME, False)
        if len(rest) == 1:
            return ("error", NOTHING_FOUND, False)
        return self._retrieval(verb, rest[1:], (rest[0],))

    def _retrieval(self, verb: bytes, keys: list[bytes], args: tuple[bytes, ...]) -> Event:
        if not all(map(is_key, keys)):
            return ("error", BAD_KEY, False)
        return ("request", verb.decode(), tuple(keys), args, False, None)

    # --- storage

    def _storage(self, verb: bytes, rest: list[bytes]) -> Event | None:
        needed = 5 if verb == b"cas" else 4
        if len(rest) not in (needed, needed + 1):
            return ("error", ERROR, False)
        quiet = rest[-1] == b"noreply"
        key, *args = rest[:needed]
        value_bytes = length(args[2])
        if unsigned(args[0]) is None or exptime(args[1]) is None or value_bytes is None:
            return ("error", BAD_FORMAT, quiet)
        if verb == b"cas" and unsigned(args[3]) is None:
            return ("error", BAD_FORMAT, quiet)
        if not is_key(key):
            self._swallow_bytes = value_bytes + 2
            return ("error", BAD_KEY, quiet)
        if value_bytes > self.max_item_bytes:
            self._swallow_bytes = value_bytes + 2
            if verb == b"set":
                return ("too_large", key, TOO_LARGE, quiet)
            return ("error", TOO_LARGE, quiet)
        self._header = (verb.decode(), key, tuple(args), quiet, value_bytes)
        return None

    # --- one key, one line

    def _count(self, verb: bytes, rest: list[bytes]) -> Event:
        return self._key_and_number(verb, rest, unsigned, BAD_DELTA)

    def _touch(self, verb: bytes, rest: list[bytes]) -> Event:
        return self._key_and_number(verb, rest, exptime, BAD_EXPTIME)

    def _key_and_number(
        self, verb: bytes, rest: list[bytes], read: Callable[[bytes], int | None], complaint: bytes
    ) -> Event:
        if len(rest) not in (2, 3):
            return ("error", ERROR, False)
        quiet = rest[-1] == b"noreply"
        if not is_key(rest[0]):
            return ("error", BAD_KEY, quiet)
        if read(rest[1]) is None:
            return ("error", complaint, quiet)
        return ("request", verb.decode(), (rest[0],), (rest[1],), quiet, None)

    def _delete(self, verb: bytes, rest: list[bytes]) -> Event:
        if len(rest) not in (1, 2, 3):
            return ("error", ERROR, False)
        quiet = len(rest) > 1 and rest[-1] == b"noreply"
        if rest[1:] not in ([], [b"0"], [b"noreply"], [b"0", b"noreply"]):
            return ("error", BAD_DELETE, quiet)
        if not is_key(rest[0]):
            return ("error", BAD_KEY, quiet)
        return ("request", "delete", (rest[0],), (), quiet, None)

    # --- no key

    def _flush_all(self, verb: bytes, rest: list[bytes]) -> Event:
        if len(rest) > 2:
            return ("error", ERROR, False)
        quiet = rest[-1:] == [b"noreply"]
        delay = rest[:1] if len(rest) > int(quiet) else []
        if delay and exptime(delay[0]) is None:
            return ("error", BAD_EXPTIME, quiet)
        return ("request", "flush_all", (), tuple(delay), quiet, None)

    def _verbosity(self, verb: bytes, rest: list[bytes]) -> Event:
        if len(rest) not in (1, 2):
            return ("error", ERROR, False)
        quiet = rest[-1] == b"noreply"
        if unsigned(rest[0]) is None:
            return ("error", BAD_FORMAT, quiet)
        return ("request", "verbosity", (), (rest[0],), quiet, None)
