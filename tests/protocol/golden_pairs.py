"""Reading tests/protocol/golden/*.txt: what a client sends, and what it gets byte for byte."""

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).parent / "golden"
SETUP = b"flush_all\r\nset k 5 0 3\r\nabc\r\nset n 0 0 2\r\n10\r\n"
SETUP_REPLY = b"OK\r\nSTORED\r\nSTORED\r\n"
_REPEAT = re.compile(rb"\{(.+?)\*(\d+)\}")


@dataclass
class Pair:
    """One case of a golden file; `where` is its file and line."""

    where: str
    request: bytes = b""
    both: bytes = b""
    memcached_only: bytes | None = None
    proxy_only: bytes | None = None
    closed: bool = False
    reasons: list[str] = field(default_factory=list)

    def reply(self, of_proxy: bool) -> bytes:
        own = self.proxy_only if of_proxy else self.memcached_only
        return self.both if own is None else own

    def matches(self, reply: bytes, of_proxy: bool) -> bool:
        pattern = re.escape(self.reply(of_proxy)).replace(rb"\{\#\}", rb"\d+")
        return re.fullmatch(pattern, reply, re.DOTALL) is not None


def unfold(text: str) -> bytes:
    """Python's escapes and our {x*250}."""
    raw: bytes = ast.literal_eval('b"' + text.replace('"', '\\"') + '"')
    return _REPEAT.sub(lambda found: found[1] * int(found[2]), raw)


def read(path: Path) -> list[Pair]:
    pairs: list[Pair] = []
    reasons: list[str] = []
    new = True
    for number, line in enumerate(path.read_text().splitlines(), 1):
        mark, _, text = line.partition(" ")
        if not line:
            new = True
        elif mark == "#":
            reasons.append(text)
        else:
            if new:
                pairs.append(Pair(f"{path.stem}:{number}", reasons=reasons))
                new, reasons = False, []
            _take(pairs[-1], mark, text, path, number)
    return pairs


def _take(pair: Pair, mark: str, text: str, path: Path, number: int) -> None:
    if mark == ">":
        pair.request += unfold(text)
    elif mark == "<":
        pair.both += unfold(text)
    elif mark == "<m":
        pair.memcached_only = (pair.memcached_only or b"") + unfold(text)
    elif mark == "<p":
        pair.proxy_only = (pair.proxy_only or b"") + unfold(text)
    elif (mark, text) == ("=", "closed"):
        pair.closed = True
    else:
        raise ValueError(f"{path}:{number}: a line begins with >, <, <m, <p, = closed or #, not {mark!r}")


def everything() -> list[Pair]:
    return [pair for path in sorted(FOLDER.glob("*.txt")) for pair in read(path)]
