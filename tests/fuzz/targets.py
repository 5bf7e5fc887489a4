"""What is fuzzed. A target is a function of bytes that returns, or raises where something is wrong.

Each feeds the same bytes to the compiled parser whole, to another one in pieces, and to the plain twin: three
answers that must be one. Where the pieces are cut follows from the bytes, so a finding repeats itself.
"""

import random
import zlib
from collections.abc import Callable
from typing import Protocol

from memagent._core import reply, request
from memagent._core.observer import Tap
from tests.reference import replies, requests
from tests.support.core import World

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
    """A server's bytes, into the reply parser, as the answer to a get, to a meta request and to the rest."""
    for expects in ("line", "values", "meta"):
        # Where a reply is senseless the two need not notice at the same byte; past every limit both have.
        end = b"x" * 8200
        whole, cut = [data + end], [*_pieces(data), end]
        plain = _replies(replies.ReplyParser(), expects, whole)
        _agree(f"{expects}, whole", _replies(reply.ReplyParser(), expects, whole), plain)
        _agree(f"{expects}, cut to {_sizes(cut)}", _replies(reply.ReplyParser(), expects, cut), plain)


def worlds(data: bytes) -> None:
    """A story: clients, servers and the clock do what the bytes say, to the whole proxy but its sockets.

    Each step is a byte: its low three bits say what happens, the next to whom; then what the step needs.
    Whatever happens, a client that comes afterwards is answered, and nothing is left over.
    """
    world = World(
        n_servers=2, max_item_bytes=MAX_ITEM_BYTES, pause_bytes=4096, close_bytes=16384, hot_keys=True
    )
    world.observer.tap([Tap(1, b"", -1, "", 1000)])
    people = [world.client(), world.client()]
    story = _Story(data)
    while story:
        step = story.byte()
        who = (step >> 3) & 1
        fake, wire = world.servers[who], world.servers[who].wire
        match step & 7:
            case 0 | 1:
                text, piece_bytes = story.text(), story.byte() if step & 1 else 0
                if people[who].session:
                    people[who].send(text, piece_bytes)
            case 2:
                wire.say(story.text())
            case 3:
                wire.move_requests(story.byte())
                wire.move_replies(story.byte())
            case 4:
                fake.is_dead = not fake.is_dead
                if fake.is_dead:
                    fake.die()
            case 5:
                world.pass_time(story.byte() * 50_000)
            case 6:
                fake.holds, people[who].reads = bool(step & 16), not step & 32
            case 7 if step & 16:
                people[who].hang_up()
                people[who] = world.client()
            case 7:
                world.run()
    for fake in world.servers:
        fake.holds = False
    world.run()
    assert world.ask(world.client(), b"mn\r\n") == b"MN\r\n", "a client that came afterwards was not answered"
    assert (left := world.finish()) == {}, f"left over: {left}"


TARGETS: dict[str, Callable[[bytes], None]] = {"clients": clients, "servers": servers, "worlds": worlds}


class _Story:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def text(self) -> bytes:
        """Up to and without the next zero byte, which clients and servers hardly ever send."""
        end = self._data.find(b"\0", self._at)
        end = len(self._data) if end < 0 else end
        begin, self._at = self._at, end + 1
        return self._data[begin:end]


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
