"""The whole data path without sockets: random clients, random progress, random faults.

Without faults a client sees, byte for byte, what one memcached would have answered, however requests were cut
and whatever server answered first. With faults it sees exactly one well-formed reply to each request that
wants one, in order, and never a value of another key. In both cases nothing is left over at the end.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memagent._core.observer import Tap
from tests.reference.requests import Event, RequestParser
from tests.support.core import Client, FakeServer, World, live_objects
from tests.support.fake_memcached import STORAGE, Store

MAX_ITEM_BYTES = 40
RETRIEVAL = (b"get", b"gets", b"gat", b"gats")
LOCAL = {
    b"version": b"VERSION memagent\r\n",
    b"verbosity": b"OK\r\n",
    b"mn": b"MN\r\n",
    b"stats": b"STAT words \r\nEND\r\n",
}

# --- what clients say

times = st.sampled_from([b"0", b"0", b"0", b"0", b"100", b"-1"])
quiet = st.sampled_from([b"", b"", b" noreply"])
line_end = st.sampled_from([b"\r\n", b"\r\n", b"\n", b" \r\n"])


@st.composite
def request(draw: st.DrawFn, client: int, flush: bool) -> bytes:
    """One request. A key `w...` holds text that begins with the key, `n...` a number: values say whose."""
    kind = draw(st.sampled_from(["get", "get", "multi", "store", "store", "number", "line", "odd"]))
    key = b"%c%d:%d" % (draw(st.sampled_from(b"wwn")), client, draw(st.integers(0, 5)))
    end = draw(line_end)
    if kind == "get":
        verb = draw(st.sampled_from(RETRIEVAL))
        return b"%b%b %b%b" % (verb, b" " + draw(times) if verb[:3] == b"gat" else b"", key, end)
    if kind == "multi":
        verb = draw(st.sampled_from(RETRIEVAL))
        keys = draw(st.lists(st.tuples(st.sampled_from(b"wn"), st.integers(0, 5)), min_size=1, max_size=9))
        words = b" ".join(b"%c%d:%d" % (letter, client, i) for letter, i in keys)
        return b"%b%b %b%b" % (verb, b" " + draw(times) if verb[:3] == b"gat" else b"", words, end)
    if kind == "store":
        verb = draw(st.sampled_from(STORAGE)) if key[:1] == b"w" else b"set"
        length = draw(st.sampled_from([0, 1, 10, MAX_ITEM_BYTES - 5, MAX_ITEM_BYTES - 4]))
        value = key + b"=" + draw(st.sampled_from([b"x", b"\n", b"\0"])) * length
        if key[:1] == b"n":
            value = b"%d" % draw(st.sampled_from([0, 9, 10, 2**64 - 1]))
        unique = b" %d" % draw(st.integers(1, 3)) if verb == b"cas" else b""
        head = b"%b %b %d %b %d%b%b" % (
            verb,
            key,
            draw(st.integers(0, 9)),
            draw(times),
            len(value),
            unique,
            draw(quiet),
        )
        return head + end + value + b"\r\n"
    if kind == "number":
        verb = draw(st.sampled_from([b"incr", b"decr"]))
        return b"%b n%d:%d %d%b%b" % (
            verb,
            client,
            draw(st.integers(0, 5)),
            draw(st.integers(0, 12)),
            draw(quiet),
            end,
        )
    if kind == "line":
        lines = [b"delete " + key, b"touch %b %b" % (key, draw(times))]
        return draw(st.sampled_from(lines + [b"flush_all"] * flush)) + draw(quiet) + end
    return draw(
        st.sampled_from(
            [
                *(b"version\r\n", b"mn\r\n", b"stats\r\n", b"verbosity 1\r\n", b"verbosity 1 noreply\r\n"),
                *(b"\r\n", b"bogus\r\n", b"get\r\n", b"gat 0\r\n", b"get " + b"k" * 251 + b"\r\n"),
                *(b"incr %b x\r\n" % key, b"touch %b noreply\r\n" % key, b"delete %b 5\r\n" % key),
                *(b"set %b 0 0 3\r\nabcde" % key, b"set %b 0 0 50\r\n%b\r\n" % (key, b"get evil\r\n" * 5)),
                *(b"add %b 0 0 50 noreply\r\n%b\r\n" % (key, b"y" * 50), b"set \x01 0 0 5\r\nquit\r\n\r\n"),
            ]
        )
    )


@st.composite
def scripts(draw: st.DrawFn, most: int = 3) -> list[bytes]:
    n = draw(st.integers(1, most))
    last = st.sampled_from(
        [b"", b"", b"", b"", b"quit\r\nget after\r\n", b"x" * 4200 + b"\r\n", b"get half of it"]
    )
    return [
        b"".join(draw(st.lists(request(client, n == 1), min_size=4, max_size=20))) + draw(last)
        for client in range(n)
    ]


amounts = st.sampled_from([1, 2, 5, 20, 100, 1 << 20])
whos = st.integers(0, 11)
moves = st.tuples(st.sampled_from(["client", "requests", "replies"]), whos, amounts)


def progress(world: World, what: str, who: int, amount: int) -> None:
    """Something moves, a little."""
    wires = [wire for fake in world.servers for wire in fake.wires]
    wire = wires[who % len(wires)]
    if what == "client":
        world.clients[who % len(world.clients)].step(amount)
    elif what == "requests":
        wire.move_requests(amount)
    elif what == "replies":
        wire.move_replies(amount)


def events_of(script: bytes) -> list[Event]:
    events = []
    for event in RequestParser(MAX_ITEM_BYTES).feed(script):
        if event[:2] == ("request", "quit"):
            break
        events.append(event)
    return events


def fill(store: Store, client: int) -> None:
    """Half of the client's keys have a value from the beginning."""
    for i in range(3):
        store.apply(b"set", (b"w%d:%d" % (client, i),), (b"0", b"0"), b"w%d:%d=" % (client, i))
        store.apply(b"set", (b"n%d:%d" % (client, i),), (b"0", b"0"), b"%d" % (10 ** (i * 9)))


def start(world: World, scripts: list[bytes]) -> None:
    for number, script in enumerate(scripts):
        filled = Store()
        fill(filled, number)
        for key, item in filled.items.items():
            store = world.servers[world.owner(key)].store
            store.items[key] = item
            store.writes[key] = 1
        world.client().send(script)


# --- without faults


def model(client: int, script: bytes) -> bytes:
    """What one memcached would answer."""
    store = Store()
    fill(store, client)
    replies = []
    for event in events_of(script):
        match event:
            case ("request", str(verb), keys, args, is_quiet, value):
                name = verb.encode()
                reply = LOCAL.get(name) or store.apply(name, keys, args, value)  # type: ignore[arg-type]
            case ("too_large", bytes(key), bytes(reply), is_quiet):
                store.forget(key)
            case ("error", bytes(reply), is_quiet):
                pass
            case ("fatal", bytes(reply)):
                is_quiet = False
            case _:
                raise AssertionError(event)
        if not is_quiet:
            replies.append(reply)
    return b"".join(replies)


@settings(max_examples=200)
@given(
    scripts(),
    st.lists(moves, max_size=60),
    st.integers(1, 4),
    st.integers(1, 2),
)
def test_without_faults_it_is_one_memcached(
    scripts: list[bytes], moves: list[tuple[str, int, int]], n_servers: int, n_channels: int
) -> None:
    if any(b"flush_all" in script for script in scripts):
        n_channels = 1  # a flush is ordered with the requests on its own channel only
    world = World(n_servers, max_item_bytes=MAX_ITEM_BYTES, n_channels=n_channels, hot_keys=True, slow_us=1)
    start(world, scripts)
    for what, who, amount in moves:
        progress(world, what, who, amount)
    world.run()
    assert [client.take() for client in world.clients] == [model(*each) for each in enumerate(scripts)]
    assert world.finish() == {}


# --- with faults


@dataclass
class Reading:
    """Takes the replies to a script off what a client has received; an AssertionError where it cannot."""

    received: bytes
    at: int = field(default=0)

    def line(self) -> bytes:
        end = self.received.find(b"\r\n", self.at)
        assert end >= 0, f"no whole line: {self.received[self.at :]!r}"
        line, self.at = self.received[self.at : end], end + 2
        return line

    def reply(self, event: Event) -> None:
        match event:
            case ("request", str(verb), tuple(keys), _, _, _):
                self.reply_to(verb.encode(), keys)
            case ("too_large", _, bytes(reply), _) | ("error", bytes(reply), _) | ("fatal", bytes(reply)):
                self.exactly(reply)

    def exactly(self, reply: bytes) -> None:
        assert self.received[self.at : self.at + len(reply)] == reply
        self.at += len(reply)

    def reply_to(self, verb: bytes, keys: tuple[bytes, ...]) -> None:
        if verb in LOCAL:
            self.exactly(LOCAL[verb])
            return
        line = self.line()
        if line.startswith(b"SERVER_ERROR "):
            return
        if verb in RETRIEVAL:
            self.items(line, keys, b"s" in verb)
            return
        fitting = {
            b"incr": rb"\d+|NOT_FOUND|CLIENT_ERROR .*",
            b"decr": rb"\d+ *|NOT_FOUND|CLIENT_ERROR .*",
            b"delete": rb"DELETED|NOT_FOUND",
            b"touch": rb"TOUCHED|NOT_FOUND",
            b"flush_all": rb"OK",
        }.get(verb, rb"STORED|NOT_STORED|EXISTS|NOT_FOUND")
        assert re.fullmatch(fitting, line), (verb, line)

    def items(self, line: bytes, keys: tuple[bytes, ...], has_unique: bool) -> None:
        """VALUE items, for keys of the request in their order, and END."""
        left: Iterator[bytes] = iter(keys)
        while line != b"END":
            word, key, _, length, *unique = line.split(b" ")
            assert word == b"VALUE"
            assert len(unique) == has_unique
            assert key in left, f"{key!r} is not what was asked for, or not in its place"
            value = self.received[self.at : self.at + int(length)]
            self.at += int(length)
            assert self.line() == b""
            whose = rb"\d+ *" if key[:1] == b"n" else re.escape(key) + b"=.*"
            assert re.fullmatch(whose, value, re.DOTALL), f"{key!r} never had the value {value!r}"
            line = self.line()


def check(client: Client, script: bytes, hung_up: bool) -> None:
    """One reply to each request that wants one; who hung up may have missed the last ones."""
    reading = Reading(client.received)
    for event in events_of(script):
        if hung_up and reading.at == len(reading.received):
            return
        if event[0] != "fatal" and (event[4] if event[0] == "request" else event[-1]):
            continue
        reading.reply(event)
    assert reading.at == len(reading.received), f"more than was asked for: {reading.received[reading.at :]!r}"


MALFORMED = [
    *(b"\r\n", b"HTTP/1.1 400 Bad Request\r\n", b"VALUE\r\n", b"VALUE x 0 -1\r\n", b"\0\xff\n", b"z" * 5000),
]
FOREIGN = b"VALUE w9:9 0 1\r\nx\r\n"


def disturb(world: World, what: str, who: int, amount: int) -> None:
    wires = [wire for fake in world.servers for wire in fake.wires]
    wire = wires[who % len(wires)]
    if what == "lose":
        wire.lose()
    elif what == "time":
        world.pass_time(amount * 10_000)
    elif what == "die":
        wire.fake.die()
    elif what == "revive":
        revive(wire.fake)
    elif what == "mute":
        wire.fake.is_mute = True
    elif what == "refuse":
        wire.conversation.refusals += amount % 7
    elif what == "hang up":
        world.clients[who % len(world.clients)].hang_up()
    elif what == "garbage" and not len(wire.channel.left):
        assert wire.say(MALFORMED[amount % len(MALFORMED)]) == -1
    elif what == "lie":
        good, end, rest = wire.replies.partition(b"END\r\n")
        if end:
            wire.replies = rest
            wire.say(good + FOREIGN + end)
    elif what == "too much" and len(wire.channel) == wire.channel.not_sent:
        assert wire.say(b"STORED\r\n") == -1


FAULTS = [
    *("lose", "lose", "lose", "time", "time", "time", "time", "garbage", "garbage", "lie", "lie"),
    *("refuse", "refuse", "too much", "mute", "die", "revive", "revive", "hang up"),
]
faults = st.tuples(st.sampled_from(FAULTS), whos, st.sampled_from([*range(10), 50, 101, 150]))


@settings(max_examples=300)
@given(
    scripts(),
    st.lists(st.one_of(moves, moves, moves, faults), min_size=15, max_size=80),
    st.integers(1, 3),
    st.integers(1, 2),
    st.booleans(),
    st.sampled_from([0, 0, 20_000]),
    st.sampled_from([65536, 65536, 65536, 3]),
)
def test_with_faults_every_request_has_its_reply(
    scripts: list[bytes],
    happenings: list[tuple[str, int, int]],
    n_servers: int,
    n_channels: int,
    miss_when_down: bool,
    multiget_deadline_us: int,
    queue_requests: int,
) -> None:
    world = World(
        n_servers,
        max_item_bytes=MAX_ITEM_BYTES,
        n_channels=n_channels,
        miss_when_down=miss_when_down,
        multiget_deadline_us=multiget_deadline_us,
        queue_requests=queue_requests,
        hot_keys=True,
        slow_us=1,
    )
    world.observer.tap([Tap(1, b"", -1, "", 1e9)])
    start(world, scripts)
    for what, who, amount in happenings:
        progress(world, what, who, amount)
        disturb(world, what, who, amount)
    heal(world)
    for client, script in zip(world.clients, scripts, strict=True):
        check(client, script, hung_up=client.session is None and not client.closed_by_proxy)
        assert client.session is None or (client.session.waiting_for, client.unsent) == (0, b"")
    late = world.client()
    for index in range(n_servers):
        key = world.keys(index, 1, b"late")[0]
        reply = world.ask(late, b"set %b 0 0 2\r\nok\r\nget %b\r\n" % (key, key))
        assert reply == b"STORED\r\nVALUE %b 0 2\r\nok\r\nEND\r\n" % key
    assert world.finish() == {}


def revive(fake: FakeServer) -> None:
    """What was mute has not even read; its connections end, and new ones are answered."""
    if fake.is_mute:
        for wire in fake.wires:
            wire.lose()
    fake.is_dead = fake.is_mute = False


def heal(world: World) -> None:
    """Every server is well again, and time enough passes for the proxy to find out."""
    for fake in world.servers:
        revive(fake)
        for wire in fake.wires:
            wire.conversation.refusals = 0
    for _ in range(3):
        world.run()
        world.pass_time(5_000_000)
    world.run()
    assert all(fake.server.up for fake in world.servers)


@pytest.fixture(scope="module", autouse=True)
def _nobody_survives() -> Iterator[None]:
    yield
    assert not live_objects()
