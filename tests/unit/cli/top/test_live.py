"""The loop: readings, keys and signals, with a terminal and a proxy that the test plays."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Self

import pytest
from rich.text import Text

from memagent.cli.top import live
from memagent.cli.top.live import Live
from memagent.cli.top.screen import Screen
from memagent.errors import ConfigError, ControlError
from memagent.questions import Request
from memagent.rates import Reading
from tests.support.control_stand_in import SERVER, counts_of, snapshot_of
from tests.support.wait import PATIENCE

SIGNALS = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP),
    *(signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT),
)


class Paper:
    """A terminal that keeps what is drawn. `taken`: how often it was, less how often it was given back."""

    def __init__(self) -> None:
        self.fd, self.typing = os.pipe()
        self.lines: list[str] = []
        self.columns = 80
        self.taken = 0
        self.suspended = 0
        self.is_gone = False

    def __enter__(self) -> Self:
        self.taken += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.taken -= 1

    def size(self) -> tuple[int, int]:
        return self.columns, 24

    def draw(self, lines: list[Text]) -> None:
        if self.is_gone:
            raise OSError("it is gone")
        self.lines = [line.plain for line in lines]

    def read(self) -> bytes:
        return os.read(self.fd, 1024)

    def suspend(self) -> None:
        self.suspended += 1

    def resume(self) -> None:
        self.suspended -= 1

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


class Played:
    """A proxy. `error` is what it answers everything with, while there is one."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.refusal: Exception | None = None
        self.asked: list[Request] = []
        self.explained: list[str] = []
        self.readings = 0
        self.holds = threading.Event()
        self.holds.set()

    def read(self) -> Reading:
        self.holds.wait()
        if self.error is not None:
            raise self.error
        self.readings += 1
        snapshot = snapshot_of(SERVER)
        return Reading(snapshot, counts_of(snapshot, float(self.readings), requests=7 * self.readings))

    def ask(self, request: Request) -> str:
        self.asked.append(request)
        if self.refusal is not None:
            raise self.refusal
        return "server a is draining"

    def explain(self, key: str) -> list[str]:
        self.explained.append(key)
        if self.refusal is not None:
            raise self.refusal
        return ["owner and copy agree"]


class Case:
    def __init__(self) -> None:
        self.paper, self.proxy = Paper(), Played()
        self.live = Live(self.proxy, self.paper, Screen(), 0.02)

    def type(self, keys: bytes) -> None:
        os.write(self.paper.typing, keys)

    async def until(self, condition: Callable[[], object], what: str) -> None:
        async with asyncio.timeout(10 * PATIENCE):
            while not condition():
                await asyncio.sleep(0.005)

    async def shows(self, text: str) -> None:
        try:
            await self.until(lambda: text in self.paper.text, text)
        except TimeoutError:
            raise AssertionError(f"{text!r} is not on\n{self.paper.text}") from None

    def play(self, test: Callable[[], Coroutine[Any, Any, None]]) -> int:
        """The exit code of the loop, which the test has to end."""

        async def whole() -> int:
            running = asyncio.create_task(self.live.run())
            playing = asyncio.create_task(test())
            await asyncio.wait({running, playing}, return_when=asyncio.FIRST_EXCEPTION)
            if playing.done():
                playing.result()
            return running.result()

        return asyncio.run(whole())


@pytest.fixture
def case() -> Iterator[Case]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    case = Case()
    yield case
    case.proxy.holds.set()
    for number, handler in before.items():
        signal.signal(number, handler)
    for fd in (case.paper.fd, case.paper.typing):
        os.close(fd)
    assert case.paper.taken == 0


def test_readings_become_rates_and_q_ends_it(case: Case):
    async def test() -> None:
        await case.shows("asking the proxy")
        await case.shows(" 7.0 ")
        await case.until(lambda: case.proxy.readings > 3, "more readings")
        assert case.paper.taken == 1
        case.type(b"q")

    assert case.play(test) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it(case: Case, number: int):
    async def test() -> None:
        await case.shows("> a ")
        os.kill(os.getpid(), number)

    assert case.play(test) == 128 + number


def test_a_proxy_that_goes_away_and_comes_back(case: Case):
    async def test() -> None:
        await case.shows("> a ")
        case.proxy.error = ControlError("no proxy listens at /m.sock", "is it running?")
        await case.shows(" s old: no proxy listens at /m.sock")
        assert "> a " in case.paper.text
        case.proxy.error = None
        await case.shows("requests/s")
        case.type(b"q")

    assert case.play(test) == 0


def test_keys_are_heard_while_the_proxy_says_nothing(case: Case, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(live, "_LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(live, "_LATE_AFTER_S", 0.05)

    async def test() -> None:
        await case.shows("> a ")
        case.proxy.holds.clear()
        await case.shows("the proxy does not answer")
        case.type(b"?")
        await case.shows("help")
        case.type(b"xq")

    assert case.play(test) == 0


def test_draining(case: Case):
    async def test() -> None:
        await case.shows("> a ")
        case.type(b"d")
        await case.shows("Take the server a")
        case.type(b"y")
        await case.shows("server a is draining")
        case.proxy.refusal = ControlError("a holds the only copy of its keys", "--force", can_force=True)
        case.type(b"dy")
        await case.shows("a holds the only copy of its keys. Do it nevertheless?")
        case.proxy.refusal = ControlError("it is being replaced", "wait until that is done")
        case.type(b"f")
        await case.shows("it is being replaced: wait until that is done")
        case.type(b"q")

    assert case.play(test) == 0
    assert [request.words.get("force") for request in case.proxy.asked] == [None, None, True]


def test_explaining(case: Case):
    async def test() -> None:
        case.type(b"ekey\x7f\r")
        await case.shows("owner and copy agree")
        case.type(b" ")
        await case.shows("> a ")
        case.proxy.refusal = ConfigError("a key must be so")
        case.type(b"ex\r")
        await case.shows("a key must be so")
        case.type(b"q")

    assert case.play(test) == 0
    assert case.proxy.explained == ["ke", "x"]


def test_escape_comes_without_waiting_for_another_key(case: Case):
    async def test() -> None:
        case.type(b"e")
        await case.shows("key to explain: _")
        case.type(b"\x1b")
        await case.shows("? help")
        case.type(b"q")

    assert case.play(test) == 0


def test_another_size(case: Case):
    async def test() -> None:
        await case.shows("WARM")
        case.paper.columns = 30
        os.kill(os.getpid(), signal.SIGWINCH)
        await case.until(lambda: "WARM" not in case.paper.text, "fewer columns")
        case.type(b"q")

    assert case.play(test) == 0


def test_suspended_and_back(case: Case):
    async def test() -> None:
        os.kill(os.getpid(), signal.SIGTSTP)
        await case.until(lambda: case.paper.suspended == 1, "suspended")
        os.kill(os.getpid(), signal.SIGCONT)
        await case.until(lambda: case.paper.suspended == 0, "back")
        case.type(b"q")

    assert case.play(test) == 0


def test_the_terminal_goes(case: Case):
    async def test() -> None:
        await case.shows("> a ")
        os.close(case.paper.typing)
        case.paper.typing = os.dup(case.paper.fd)

    assert case.play(test) == 128 + signal.SIGHUP


def test_the_terminal_takes_nothing_any_more(case: Case):
    async def test() -> None:
        await case.shows("> a ")
        case.paper.is_gone = True

    assert case.play(test) == 128 + signal.SIGHUP


def test_a_mistake_in_drawing_is_shown_too(case: Case, monkeypatch: pytest.MonkeyPatch):
    def fail(_: list[Text]) -> None:
        raise RuntimeError("a mistake")

    async def test() -> None:
        await case.shows("> a ")
        monkeypatch.setattr(case.paper, "draw", fail)
        case.type(b"j")

    with pytest.raises(RuntimeError, match="a mistake"):
        case.play(test)


def test_a_mistake_of_ours_is_shown_when_the_terminal_is_given_back(case: Case):
    async def test() -> None:
        await case.shows("> a ")
        case.proxy.error = RuntimeError("a mistake")

    with pytest.raises(RuntimeError, match="a mistake"):
        case.play(test)
