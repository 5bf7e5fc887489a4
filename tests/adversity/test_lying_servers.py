"""Servers that are silent, slow, cut short, talk nonsense or too much.

behaviour.md section 5 (time, buffers, never desynchronises), section 2 (multiget, what may be repeated). For
each: what the client saw, after how long at most, and that clients of another server did not notice.
"""

import re
import time
from collections.abc import Callable

import pytest

from tests.adversity.conftest import GRACE_S, REQUEST_S, Stage
from tests.functional.tools import SERVER_ERROR, gauges, item, storage
from tests.support.liar import Script, Talk
from tests.support.wait import wait_until

MISS = re.compile(rb"END\r\n")
MISS_OR_ERROR = re.compile(rb"END\r\n|SERVER_ERROR [ -~]+\r\n")


def says(*pieces: bytes, then: Callable[[Talk], None] = Talk.silence) -> Script:
    """To the first request: these bytes, then silence or an end."""

    def script(talk: Talk) -> None:
        talk.request()
        for piece in pieces:
            talk.say(piece)
        then(talk)

    return script


def closes(talk: Talk) -> None:
    """A script that returns closes the connection."""


def for_ever(piece: bytes, start: bytes = b"") -> Script:
    def script(talk: Talk) -> None:
        talk.request()
        talk.say(start)
        while True:
            talk.say(piece)

    return script


AT_ONCE = 0.0
CASES: dict[str, tuple[Script, float]] = {
    "silent": (says(), REQUEST_S),
    "half_a_line": (says(b"EN"), REQUEST_S),
    "half_a_header": (says(b"VALUE KEY 0"), REQUEST_S),
    "half_a_value": (says(b"VALUE KEY 0 10\r\nabc"), REQUEST_S),
    "no_end": (says(b"VALUE KEY 0 3\r\nabc\r\n"), REQUEST_S),
    "closes_at_once": (says(then=closes), AT_ONCE),
    "closes_in_the_header": (says(b"VALUE KEY 0", then=closes), AT_ONCE),
    "closes_in_the_value": (says(b"VALUE KEY 0 10\r\nabc", then=closes), AT_ONCE),
    "closes_before_the_end": (says(b"VALUE KEY 0 3\r\nabc\r\n", then=closes), AT_ONCE),
    "resets": (says(then=Talk.reset), AT_ONCE),
    "resets_in_the_value": (says(b"VALUE KEY 0 10\r\nabc", then=Talk.reset), AT_ONCE),
    "nonsense": (says(b"HELLO\r\n"), AT_ONCE),
    "zeros": (says(bytes(100)), REQUEST_S),
    "every_byte": (says(bytes(range(256))), AT_ONCE),
    "http": (says(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), AT_ONCE),
    "bare_line_feed": (says(b"END\n"), REQUEST_S),
    "wrong_kind_of_reply": (says(b"STORED\r\n"), AT_ONCE),
    "number_for_a_value": (says(b"17\r\n"), AT_ONCE),
    "negative_length": (says(b"VALUE KEY 0 -1\r\n\r\nEND\r\n"), AT_ONCE),
    "enormous_length": (says(b"VALUE KEY 0 99999999999999999999\r\n"), AT_ONCE),
    "length_too_short": (says(b"VALUE KEY 0 2\r\nabc\r\nEND\r\n"), AT_ONCE),
    "length_too_long": (says(b"VALUE KEY 0 5\r\nabc\r\nEND\r\n"), AT_ONCE),
    "wrong_key": (says(b"VALUE other 0 3\r\nabc\r\nEND\r\n"), AT_ONCE),
    "right_then_wrong_key": (says(b"VALUE KEY 0 1\r\na\r\nVALUE x 0 1\r\na\r\nEND\r\n"), AT_ONCE),
    "long_key": (says(b"VALUE " + b"k" * 300 + b" 0 3\r\nabc\r\nEND\r\n"), AT_ONCE),
    "error_behind_a_value": (says(b"VALUE KEY 0 3\r\nabc\r\nSERVER_ERROR out of memory\r\n"), AT_ONCE),
    "line_without_end": (for_ever(b"x" * 1000), AT_ONCE),
    "endless_value": (for_ever(b"x" * 10_000, b"VALUE KEY 0 2000000000\r\n"), REQUEST_S),
    "endless_value_within_bounds": (for_ever(b"x", b"VALUE KEY 0 100000\r\n"), REQUEST_S),
    "endless_items": (for_ever(b"VALUE KEY 0 3\r\nabc\r\n" * 500), REQUEST_S),
}


def of_key(script: Script, key: bytes) -> Script:
    """The script, with the real key wherever it says KEY."""

    def play(talk: Talk) -> None:
        say = talk.say
        talk.say = lambda data: say(data.replace(b"KEY", key))  # type: ignore[method-assign]
        script(talk)

    return play


@pytest.mark.parametrize("name", CASES)
def test_a_get(stage: Stage, name: str) -> None:
    """Section 2: a miss or an error line; never a value that is not the key's; never later than the limit."""
    script, limit_s = CASES[name]
    key = stage.lies[0]
    stage.play(of_key(script, key))
    with stage.proxy.connect() as wire, stage.proxy.connect() as other:
        begin = time.monotonic()
        wire.send(b"get " + key + b"\r\n")
        stage.others_are_well(other)
        assert time.monotonic() - begin < GRACE_S
        assert MISS_OR_ERROR.fullmatch(wire.read_line())
        assert time.monotonic() - begin < limit_s + GRACE_S
        wire.expect(b"mn\r\n", b"MN\r\n")
        stage.others_are_well(other)


@pytest.mark.parametrize("name", CASES)
def test_a_multiget(stage: Stage, name: str) -> None:
    """Section 2, multiget: the live server's hits, in order, and no error line between them."""
    script, limit_s = CASES[name]
    key, (first, second) = stage.lies[0], stage.truths[:2]
    stage.play(of_key(script, key))
    with stage.proxy.connect() as wire:
        begin = time.monotonic()
        expected = item(first, first) + item(second, second) + b"END\r\n"
        wire.expect(b"get " + b" ".join([first, key, second]) + b"\r\n", expected)
        assert time.monotonic() - begin < limit_s + GRACE_S


WRITES = {
    "incr": b"incr KEY 1\r\n",
    "delete": b"delete KEY\r\n",
    "set": storage(b"set", b"KEY", b"x" * 1000),
    "flush_all": b"flush_all\r\n",
}


@pytest.mark.parametrize("verb", WRITES)
@pytest.mark.parametrize(
    "name",
    [
        "silent",
        "half_a_line",
        "closes_at_once",
        "resets",
        "nonsense",
        "zeros",
        "line_without_end",
        "bare_line_feed",
    ],
)
def test_a_write(stage: Stage, verb: str, name: str) -> None:
    """Section 2: SERVER_ERROR, within the request time; the client's connection lives."""
    script, limit_s = CASES[name]
    stage.play(of_key(script, stage.lies[0]))
    with stage.proxy.connect() as wire:
        begin = time.monotonic()
        assert SERVER_ERROR.fullmatch(wire.ask(WRITES[verb].replace(b"KEY", stage.lies[0])))
        assert time.monotonic() - begin < limit_s + GRACE_S
        wire.expect(b"mn\r\n", b"MN\r\n")


def test_what_may_have_been_applied_is_said_to_be_unknown(stage: Stage) -> None:
    """Section 2, what may be repeated: sent, then the connection died: says "unknown outcome"."""
    key = stage.lies[0]
    requests = [
        b"incr " + key + b" 1\r\n",
        b"decr " + key + b" 1\r\n",
        storage(b"cas", key, b"x", tail=b" 1"),
    ]
    requests += [storage(verb, key, b"x") for verb in (b"append", b"prepend", b"add", b"replace")]
    with stage.proxy.connect() as wire:
        for request in requests:
            stage.play(says(then=closes))
            reply = wire.ask(request)
            assert SERVER_ERROR.fullmatch(reply)
            assert b"unknown outcome" in reply, (request, reply)


def test_more_replies_than_asked_for_reach_nobody(stage: Stage) -> None:
    """Section 5, never desynchronises: a reply belongs to a request, so one too many ends that connection."""
    key, second = stage.lies[:2]
    stale = item(second, b"stale") + b"END\r\n"
    stage.play(says(b"END\r\n" + stale * 2))
    with stage.proxy.connect() as wire:
        wire.expect(b"get " + key + b"\r\n", b"END\r\n")
        assert MISS_OR_ERROR.fullmatch(wire.ask(b"get " + second + b"\r\n"))
    stage.play(says(b"NOT_FOUND\r\n5\r\n7\r\n"))
    with stage.proxy.connect() as wire:
        wire.expect(b"incr " + key + b" 1\r\n", b"NOT_FOUND\r\n")
        # the surplus has been read by now, or will be with the next reply: never taken for an answer
        wait_until(lambda: garbage_of(stage) >= 1, what="the surplus to be noticed")
        assert wire.ask(b"incr " + second + b" 1\r\n") not in (b"5\r\n", b"7\r\n")


def garbage_of(stage: Stage) -> int:
    return int(stage.proxy.stats("servers")[f"main:{stage.liar.address}:garbage_replies"])


def test_a_slow_but_right_reply_arrives(stage: Stage) -> None:
    """Section 5, request time: one byte at a time, all within the limit."""
    key = stage.lies[0]

    def slow(talk: Talk) -> None:
        talk.request()
        for byte in item(key, b"12345") + b"END\r\n":
            talk.say(bytes([byte]))
            talk.sleep(0.002)
        talk.honest()

    stage.play(slow)
    with stage.proxy.connect() as wire:
        wire.expect(b"get " + key + b"\r\n", item(key, b"12345") + b"END\r\n")


def test_requests_behind_a_silent_one_wait_no_longer_than_it(stage: Stage) -> None:
    """Section 5, request time: a hundred clients of a silent server are all answered within one limit."""
    stage.play(says())
    wires = [stage.proxy.connect() for _ in range(100)]
    begin = time.monotonic()
    for wire in wires:
        wire.send(b"get " + stage.lies[0] + b"\r\n")
    for wire in wires:
        assert MISS.fullmatch(wire.read_line())
        wire.close()
    assert time.monotonic() - begin < REQUEST_S + GRACE_S + 0.25


def test_an_endless_reply_is_not_kept(stage: Stage) -> None:
    """Section 5: what is buffered of a reply that never ends is bounded and given back."""
    key = stage.lies[0]
    stage.play(of_key(CASES["endless_items"][0], key))
    with stage.proxy.connect() as wire:
        wire.send(b"get " + key + b"\r\n")
        most = 0
        while not wire_has_line(wire):
            most = max(most, gauges(stage.proxy)["buffered_bytes"])
        assert most < 200 << 20


def wire_has_line(wire: object) -> bool:
    """Has a reply come? Without waiting for it."""
    return not wire.quiet(0.01)  # type: ignore[attr-defined,no-any-return]


def test_it_is_counted(stage: Stage) -> None:
    """House, habit 8: garbage and resets have counters of their own."""
    before = stage.proxy.stats("servers")
    with stage.proxy.connect() as wire:
        for script in (says(b"HELLO\r\n"), says(then=closes), says()):
            stage.play(script)
            wire.ask(b"get " + stage.lies[0] + b"\r\n")
    after = stage.proxy.stats("servers")
    for counter in ("garbage_replies", "resets", "timeouts"):
        name = f"main:{stage.liar.address}:{counter}"
        assert int(after[name]) > int(before[name]), counter
