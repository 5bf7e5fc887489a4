"""What is fuzzed. A target is a function of bytes that returns, or raises where something is wrong.

Each feeds the same bytes to the compiled parser whole, to another one in pieces, and to the plain twin: three
answers that must be one. Where the pieces are cut follows from the bytes, so a finding repeats itself.
"""

import random
import zlib
from collections.abc import Callable
from typing import Protocol

from memagent._core import reply, request
from tests.reference import replies, requests

Event = tuple[object, ...]

MAX_ITEM_BYTES = 100


class _Requests(Protocol):
    def feed(self, data: bytes) -> list[Event]: ...


class _Replies(Protocol):
    def feed(self, expects: str, data: bytes) -> list[Event]: ...


def clients(data: bytes) -> None:
    """A client's bytes, into the request parser."""
    whole, cut = [data], _pieces(data)
    plain = _requests(requests.RequestParser(MAX_ITEM_BYTES), whole)
    _agree("whole", _requests(request.RequestParser(MAX_ITEM_BYTES), whole), plain)
    _agree(f"cut to {_sizes(cut)}", _requests(request.RequestParser(MAX_ITEM_BYTES), cut), plain)


def servers(data: bytes) -> None:
    """A server's bytes, into the reply parser, as the answer to a retrieval and to anything else."""
    for expects in ("line", "values"):
        # Where a reply is senseless the two need not notice at the same byte; past every limit both have.
        end = b"x" * 8200
        whole, cut = [data + end], [*_pieces(data), end]
        plain = _replies(replies.ReplyParser(), expects, whole)
        _agree(f"{expects}, whole", _replies(reply.ReplyParser(), expects, whole), plain)
        _agree(f"{expects}, cut to {_sizes(cut)}", _replies(reply.ReplyParser(), expects, cut), plain)


TARGETS: dict[str, Callable[[bytes], None]] = {"clients": clients, "servers": servers}


def _requests(parser: _Requests, pieces: list[bytes]) -> list[Event]:
    events: list[Event] = []
    for piece in pieces:
        events += parser.feed(piece)
        if events and events[-1][0] == "fatal":
            break
    return events


def _replies(parser: _Replies, expects: str, pieces: list[bytes]) -> list[Event]:
    events: list[Event] = []
    for piece in pieces:
        events += parser.feed(expects, piece)
        if events and events[-1][0] == "garbage":
            # Its reason is free text.
            return [*events[:-1], ("garbage",)]
    return events


def _pieces(data: bytes) -> list[bytes]:
    dice = random.Random(zlib.crc32(data))
    if len(data) <= 64 and dice.random() < 0.5:
        return [data[at : at + 1] for at in range(len(data))]
    cuts = sorted(dice.randrange(len(data) + 1) for _ in range(dice.randrange(1, 8)))
    return [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def _sizes(pieces: list[bytes]) -> list[int]:
    return [len(piece) for piece in pieces]


def _agree(how: str, compiled: list[Event], plain: list[Event]) -> None:
    if compiled != plain:
        at = next((i for i, (a, b) in enumerate(zip(compiled, plain, strict=False)) if a != b), None)
        at = min(len(compiled), len(plain)) if at is None else at
        raise AssertionError(
            f"{how}: event {at} differs; compiled {compiled[at : at + 1]!r}, plain {plain[at : at + 1]!r}"
        )
