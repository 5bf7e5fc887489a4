"""The slow, obvious twin of `memagent._core.reply.ReplyParser`: a server's bytes in, events out.

    feed("line", data)     ("line", line)           one line with its end, whatever it says
    feed("values", data)   ("values", raw, items)   VALUE items up to END: (key, flags, value, cas or None)
                           ("line", line)           an error line in their place
    feed("meta", data)     ("meta", raw, words, numbers, value)
                               words behind the code (and size), numbers in them by flag, value of VA or None
                           ("line", line)           an error line in its place
    either                 ("garbage", reason)      what no memcached says: no event ever follows

`expects` is what the request at the head of the queue awaits; one call may give several events of that kind.
Reasons are free text: two parsers agree when both say garbage, if need be a few bytes later.
"""

Event = tuple[object, ...]
Item = tuple[bytes, bytes, bytes, bytes | None]

MAX_LINE_BYTES = 4096
MAX_KEY_BYTES = 250
MAX_REPLY_BYTES = 128 << 20


def is_error(line: bytes) -> bool:
    return line == b"ERROR" or line.startswith((b"ERROR ", b"CLIENT_ERROR", b"SERVER_ERROR"))


def is_number(token: bytes) -> bool:
    return 0 < len(token) <= 20 and all(c in b"0123456789" for c in token)


def is_key(token: bytes) -> bool:
    return 0 < len(token) <= MAX_KEY_BYTES and all(c > 32 and c != 127 for c in token)


class ReplyParser:
    def __init__(self) -> None:
        self._left = b""
        self._garbage = False

    def feed(self, expects: str, data: bytes) -> list[Event]:
        self._left += data
        events: list[Event] = []
        while not self._garbage and self._left:
            event = {"line": self._one_line, "values": self._values, "meta": self._meta}[expects]()
            if event is None:
                break
            events.append(event)
            self._garbage = event[0] == "garbage"
        return events

    def _one_line(self) -> Event | None:
        line = self._line_at(0)
        if line is None or isinstance(line, tuple):
            return line
        return self._complete(len(line), ("line", line))

    def _meta(self) -> Event | None:
        line = self._line_at(0)
        if line is None or isinstance(line, tuple):
            return line
        text = line[:-2]
        if is_error(text):
            return self._complete(len(line), ("line", line))
        code, *words = text.split(b" ")
        if code not in (b"HD", b"VA", b"EN", b"NF", b"NS", b"EX", b"ME") or (code == b"ME" and not words):
            return ("garbage", "no meta reply")
        value = None
        end = len(line)
        if code == b"VA":
            size = words.pop(0) if words else b""
            if not size or any(c not in b"0123456789" for c in size):
                return ("garbage", "VA without a size")
            end += int(size) + 2
            if end > MAX_REPLY_BYTES:
                return ("garbage", "too long")
            if len(self._left) < end:
                return None
            value = self._left[len(line) : end - 2]
            if self._left[end - 2 : end] != b"\r\n":
                return ("garbage", "value without \\r\\n")
        words = [word for word in words if word]
        numbers: dict[str, int] = {}
        for letter in map(chr, range(33, 127)):
            first = next((word[1:] for word in words if word.startswith(letter.encode())), b"")
            digits = first.removeprefix(b"-")
            if is_number(digits):
                bits = int(digits) % 2**64
                signed = bits - 2**64 if bits >= 2**63 else bits
                numbers[letter] = signed if digits == first else (-signed + 2**63) % 2**64 - 2**63
        return self._complete(end, ("meta", self._left[:end], tuple(words), numbers, value))

    def _values(self) -> Event | None:
        """All of a retrieval's reply, read again from its start each time."""
        at = 0
        items: list[Item] = []
        while True:
            line = self._line_at(at)
            if line is None or isinstance(line, tuple):
                return line
            end_of_line = at + len(line)
            text = line[:-2]
            if text == b"END":
                return self._complete(end_of_line, ("values", self._left[:end_of_line], tuple(items)))
            if is_error(text) and not items:
                return self._complete(end_of_line, ("line", line))
            header = text.split(b" ")
            if header[0] != b"VALUE" or len(header) not in (4, 5) or not is_key(header[1]):
                return ("garbage", "neither VALUE nor END")
            if not all(map(is_number, header[2:])):
                return ("garbage", "bad number in VALUE")
            end = end_of_line + int(header[3])
            if end + 2 > MAX_REPLY_BYTES:
                return ("garbage", "too long")
            if len(self._left) < end + 2:
                return None
            if self._left[end : end + 2] != b"\r\n":
                return ("garbage", "value without \\r\\n")
            cas = header[4] if len(header) == 5 else None
            items.append((header[1], header[2], self._left[end_of_line:end], cas))
            at = end + 2

    def _line_at(self, start: int) -> bytes | Event | None:
        """The line that starts there, with its end; None where it is not complete; or garbage."""
        end = self._left.find(b"\n", start, start + MAX_LINE_BYTES)
        if end < 0:
            return ("garbage", "line too long") if len(self._left) - start >= MAX_LINE_BYTES else None
        line = self._left[start : end + 1]
        return line if line.endswith(b"\r\n") else ("garbage", "line without \\r")

    def _complete(self, length: int, event: Event) -> Event:
        self._left = self._left[length:]
        return event
