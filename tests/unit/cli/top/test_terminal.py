"""The terminal is given back as it was; here it is a pseudo-terminal of the test's own."""

import os
import select
import sys
import termios
from collections.abc import Iterator

import pytest
from rich.text import Text

from memagent.cli.top.terminal import Terminal
from memagent.errors import ConfigError
from tests.support.wait import wait_until


class Pty:
    """The other end of a terminal that is standard input and output."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.outer, self.inner = os.openpty()
        termios.tcsetwinsize(self.inner, (10, 30))
        self.seen = b""
        self._input = open(self.inner, closefd=False)  # noqa: SIM115
        self._output = open(self.inner, "w", closefd=False)  # noqa: SIM115
        self._monkeypatch = monkeypatch
        monkeypatch.setenv("TERM", "xterm")

    def terminal(self) -> Terminal:
        # Not sooner: pytest captures each part of a test by putting its own there.
        self._monkeypatch.setattr(sys, "stdin", self._input)
        self._monkeypatch.setattr(sys, "stdout", self._output)
        return Terminal()

    def output(self) -> bytes:
        while select.select([self.outer], [], [], 0)[0]:
            self.seen += os.read(self.outer, 65536)
        return self.seen

    def close(self) -> None:
        self._input.close()
        self._output.close()
        for fd in (self.outer, self.inner):
            if fd >= 0:
                os.close(fd)


@pytest.fixture
def pty(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pty]:
    pty = Pty(monkeypatch)
    yield pty
    monkeypatch.undo()
    pty.close()


def test_taken_and_given_back(pty: Pty):
    before = termios.tcgetattr(pty.inner)
    with pty.terminal() as terminal:
        terminal.draw([Text("one"), Text("two", style="bold")])
        assert not termios.tcgetattr(pty.inner)[3] & (termios.ECHO | termios.ICANON)
        os.write(pty.outer, b"\x1b[A")
        assert terminal.read() == b"\x1b[A"
    assert termios.tcgetattr(pty.inner) == before
    output = pty.output()
    for text in (b"\x1b[?1049h", b"\x1b[?25l", b"one", b"two"):
        assert text in output
    assert output.rindex(b"\x1b[?25h") > output.rindex(b"\x1b[?25l")
    assert output.rindex(b"\x1b[?1049l") > output.rindex(b"two")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_given_back_whatever_happens(pty: Pty, error: type[BaseException]):
    before = termios.tcgetattr(pty.inner)
    with pytest.raises(error), pty.terminal():
        raise error
    assert termios.tcgetattr(pty.inner) == before
    assert b"\x1b[?1049l" in pty.output()


def test_it_is_as_large_as_it_is_now(pty: Pty, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "77")
    terminal = pty.terminal()
    assert terminal.size() == (30, 10)
    termios.tcsetwinsize(pty.inner, (5, 20))
    assert terminal.size() == (20, 5)
    with terminal:
        terminal.draw([Text("x" * 20)] * 5)
    assert pty.output().count(b"x" * 20) == 5
    termios.tcsetwinsize(pty.inner, (0, 0))
    assert terminal.size() == (80, 24)


def test_taken_again_after_it_was_somebody_elses(pty: Pty):
    before = termios.tcgetattr(pty.inner)
    with pty.terminal() as terminal:
        termios.tcsetattr(pty.inner, termios.TCSANOW, before)
        terminal.resume()
        assert not termios.tcgetattr(pty.inner)[3] & termios.ECHO
    assert termios.tcgetattr(pty.inner) == before


def test_nothing_is_drawn_on_what_is_somebody_elses(pty: Pty):
    with pty.terminal() as terminal:
        pass
    terminal.draw([Text("too late")])
    assert b"too late" not in pty.output()


def test_a_terminal_that_has_gone(pty: Pty):
    with pty.terminal() as terminal:
        os.close(pty.outer)
        pty.outer = -1
        wait_until(lambda: terminal.read() == b"", what="an end of the terminal")


@pytest.mark.parametrize(("kind", "says"), [("dumb", "TERM is dumb"), ("", "TERM is not set")])
def test_one_that_cannot_be_drawn_on(pty: Pty, monkeypatch: pytest.MonkeyPatch, kind: str, says: str):
    monkeypatch.setenv("TERM", kind)
    with pytest.raises(ConfigError, match=says) as caught:
        pty.terminal()
    assert "--once" in str(caught.value.hint)


def test_none_at_all(monkeypatch: pytest.MonkeyPatch):
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        with pytest.raises(ConfigError, match="needs a terminal"):
            Terminal()
