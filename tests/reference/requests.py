"""The slow, obvious twin of `memagent._core.request.RequestParser`: client bytes in, events out.

    ("request", verb, keys, args, quiet, value)   args: the tokens a verb needs besides its keys, in order
                                                  of a meta verb: its key as given and all else that is
                                                  sent on; keys: the key as a server stores it; quiet: q
    ("too_large", key, reply, quiet)              a `set` or `ms` past max_item_bytes: answer; the old
                                                  value must go
    ("error", reply, quiet)                       answer here (nothing where quiet) and go on
    ("fatal", reply)                              answer and close; no event ever follows

Written from behaviour.md sections 2 and 5 and from what memcached 1.6.18 and 1.6.38 answer (tests/protocol).
Three deliberate differences from memcached: a bad key has its own text and its data block is swallowed; a
line may be 1 MiB (get, gets) or 4 KiB long; a number is digits with at most a sign, because what is passed on
must be read by every server in the same way (memcached takes "3\\t9" for 3, and the length 4294967299 too).
Of meta requests see tests/protocol/golden/meta.txt.
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
BAD_BASE64 = b"CLIENT_ERROR error decoding key\r\n"
BAD_MODE_LENGTH = b"CLIENT_ERROR incorrect length for M token\r\n"
INVALID_FLAG = b"CLIENT_ERROR invalid flag\r\n"
DUPLICATE_FLAG = b"CLIENT_ERROR duplicate flag\r\n"
INVALID_OR_DUPLICATE = b"CLIENT_ERROR invalid or duplicate flag\r\n"
BAD_MODES = {
    b"ms": b"CLIENT_ERROR invalid mode for ms M token\r\n",
    b"ma": b"CLIENT_ERROR invalid mode for ma M token\r\n",
}
MODES = {b"ms": b"SEAPR", b"ma": b"ID+-"}
TOO_MANY = b"CLIENT_ERROR options flags too long\r\n"
TOO_MANY_MG = b"CLIENT_ERROR options flags are too long\r\n"
LONG_OPAQUE = b"CLIENT_ERROR opaque token too long\r\n"
TOO_LARGE = b"SERVER_ERROR object too large for cache\r\n"
LINE_TOO_LONG = b"CLIENT_ERROR line too long\r\n"
NOTHING_FOUND = b"END\r\n"

STORAGE = (b"set", b"add", b"replace", b"append", b"prepend", b"cas")
META = (b"mg", b"ms", b"md", b"ma")
META_TOKENS = 19
META_FLAGS_BYTES = 1600
OPAQUE_BYTES = 31
BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
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


def sent_length(token: bytes) -> int | None:
    """Of ms: no sign, which newer servers do not read."""
    return None if token.startswith(b"+") else length(token)


def decode_key(text: bytes) -> bytes:
    """Base64 as memcached reads it: skips what is not of the alphabet, ends with the padding."""
    characters = bytes(c for c in text if c in BASE64)
    if not characters or len(characters) % 4:
        return b""
    key = b""
    for at in range(0, len(characters), 4):
        group = characters[at : at + 4]
        pad = group.count(b"=")
        number = sum(
            max(0, BASE64.index(c) % 64) << shift for c, shift in zip(group, (18, 12, 6, 0), strict=True)
        )
        key += number.to_bytes(3, "big")
        if pad:
            return key[:-pad] if pad < 3 else b""
    return key


META_NUMBERS = {
    b"T": (exptime, b"CLIENT_ERROR bad token in command line format\r\n"),
    b"N": (exptime, b"CLIENT_ERROR bad token in command line format\r\n"),
    b"R": (exptime, b"CLIENT_ERROR bad token in command line format\r\n"),
    b"C": (unsigned, b"CLIENT_ERROR bad token in command line format\r\n"),
    b"E": (unsigned, b"CLIENT_ERROR bad token in command line format\r\n"),
    b"F": (unsigned, BAD_FORMAT),
    b"J": (unsigned, b"CLIENT_ERROR invalid numeric initial value\r\n"),
    b"D": (unsigned, b"CLIENT_ERROR invalid numeric delta value\r\n"),
}


def flag_trouble(key: bytes, flags: list[bytes]) -> bytes | None:
    """memcached's complaint: the first unknown or repeated flag, else the last bad argument."""
    trouble = None
    unknown = False
    seen: set[bytes] = set()
    for flag in flags:
        letter = flag[:1]
        if letter in seen or letter >= b"\x7f":
            return INVALID_FLAG if unknown else DUPLICATE_FLAG
        if letter not in b"{|}~@":
            seen.add(letter)
        if letter == b"b":
            trouble = trouble if decode_key(key) else BAD_BASE64
        elif letter == b"M":
            trouble = trouble if len(flag) == 2 else BAD_MODE_LENGTH
        elif letter in META_NUMBERS:
            read, complaint = META_NUMBERS[letter]
            if read(flag[1:]) is None and not (trouble and letter == b"F"):
                trouble = complaint
        elif letter not in b"cfhklqstuvxILOP":
            unknown = True
        if trouble and unknown:
            return INVALID_FLAG
    return trouble


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
            return ("error", BAD_CHUNK, quiet and verb != "ms")
        return ("request", verb, (key,), args, quiet, block[:-2])

    def _line(self, line: bytes) -> Event | None:
        tokens = [token for token in line.split(b" ") if token]
        if not tokens:
            return ("error", ERROR, False)
        verb, rest = tokens[0], tokens[1:]
        if verb in PLAIN:
            return ("request", verb.decode(), (), tuple(rest), False, None)
        if verb in META or verb == b"me":
            if not rest:
                return ("error", BAD_FORMAT if verb == b"me" else ERROR, False)
            return self._debug(rest) if verb == b"me" else self._meta(verb, rest)
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

    # --- meta

    def _debug(self, rest: list[bytes]) -> Event:
        key = rest[0]
        if not is_key(key):
            return ("error", BAD_KEY, False)
        if rest[1:2] != [b"b"]:
            return ("request", "me", (key,), (key,), False, None)
        stored = decode_key(key)
        if not stored or b"\n" in stored:
            return ("error", BAD_KEY if stored else BAD_FORMAT, False)
        return ("request", "me", (stored,), (key, b"b"), False, None)

    def _meta(self, verb: bytes, rest: list[bytes]) -> Event | None:
        key, *flags = rest
        head = [key]
        value_bytes = None
        if verb == b"ms":
            value_bytes = sent_length(flags[0]) if flags else None
            if value_bytes is None:
                return ("error", BAD_FORMAT, False)
            head.append(flags.pop(0))
        if not is_key(key):
            return self._meta_error(BAD_KEY, value_bytes)
        trouble = self._meta_trouble(verb, key, flags, 1 + len(head))
        if trouble:
            return self._meta_error(trouble, value_bytes)
        letters = [flag[:1] for flag in flags]
        stored = decode_key(key) if b"b" in letters else key
        taken = {b"q"}
        if verb == b"mg" and b"b" in letters and b"\n" in stored:
            taken.add(b"k")
        args = (*head, *(flag for flag in flags if flag[:1] not in taken))
        quiet = b"q" in letters
        if value_bytes is None:
            return ("request", verb.decode(), (stored,), args, quiet, None)
        if value_bytes > self.max_item_bytes:
            self._swallow_bytes = value_bytes + 2
            return ("too_large", key, TOO_LARGE, False)
        self._header = (verb.decode(), stored, args, quiet, value_bytes)
        return None

    def _meta_error(self, reply: bytes, value_bytes: int | None) -> Event:
        if value_bytes is not None:
            self._swallow_bytes = value_bytes + 2
        return ("error", reply, False)

    @staticmethod
    def _meta_trouble(verb: bytes, key: bytes, flags: list[bytes], head_tokens: int) -> bytes | None:
        if any(c < 32 or c == 127 for flag in flags for c in flag):
            return BAD_FORMAT
        too_long = sum(len(flag) + 1 for flag in flags) > META_FLAGS_BYTES
        if head_tokens + len(flags) > META_TOKENS or too_long:
            return TOO_MANY_MG if verb == b"mg" else TOO_MANY
        trouble = flag_trouble(key, flags)
        if trouble:
            return INVALID_OR_DUPLICATE if verb in (b"md", b"ma") else trouble
        values = {flag[:1]: flag[1:] for flag in flags}
        if values.get(b"M", b"") not in MODES.get(verb, values.get(b"M", b"")):
            return BAD_MODES[verb]
        return LONG_OPAQUE if len(values.get(b"O", b"")) > OPAQUE_BYTES else None

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
