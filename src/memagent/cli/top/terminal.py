"""The terminal: taken for drawing and for single keys, and given back as it was.

    with Terminal() as terminal: draw(lines), read() ...     given back, whatever ends the block
        suspend(), resume()                                  given back for a while, as Ctrl-Z wants it

It is drawn on the other screen that terminals have: what stood there before is there again afterwards.
"""

import contextlib
import os
import signal
import sys
import termios
import tty
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console, Group
from rich.text import Text

from memagent.errors import ConfigError

_READ_BYTES: Final = 1024
_USUAL_SIZE: Final = (80, 24)
_INSTEAD: Final = "magent top --once prints the numbers once, as plain text"


class Terminal:
    """That of standard input and output."""

    def __init__(self) -> None:
        """ConfigError if there is none, or none that can be drawn on."""
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise ConfigError("magent top needs a terminal", _INSTEAD)
        kind = os.environ.get("TERM", "")
        if kind.lower() in ("", "dumb", "unknown"):
            what = f"TERM is {kind}" if kind else "TERM is not set"
            raise ConfigError(f"magent top cannot draw on this terminal: {what}", _INSTEAD)
        self.fd = sys.stdin.fileno()
        self._console = Console(highlight=False, markup=False, emoji=False)
        self._before: list[Any] | None = None

    def __enter__(self) -> Self:
        self._take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def size(self) -> tuple[int, int]:
        """Columns and lines, now."""
        with contextlib.suppress(OSError):
            size = os.get_terminal_size(self.fd)
            if size.columns and size.lines:
                return size.columns, size.lines
        return _USUAL_SIZE

    def draw(self, lines: Sequence[Text]) -> None:
        """All of the screen, in one write; nothing while the terminal is somebody else's."""
        if self._before is None:
            return
        # Not what Console finds by itself: an exported COLUMNS would win over a change of size.
        self._console.size = self.size()
        self._console.update_screen(Group(*lines))

    def read(self) -> bytes:
        """What was typed; nothing if the terminal has gone."""
        try:
            return os.read(self.fd, _READ_BYTES)
        except OSError:
            return b""

    def suspend(self) -> None:
        """Give it back and stop; the SIGCONT that ends this is a call of `resume`."""
        self._release()
        os.kill(os.getpid(), signal.SIGSTOP)

    def resume(self) -> None:
        """Whoever has had it meanwhile, this process suspended or not."""
        self._take()

    def _take(self) -> None:
        if self._before is None:
            self._before = termios.tcgetattr(self.fd)
        tty.setcbreak(self.fd)
        self._console.set_alt_screen(True)
        self._console.show_cursor(False)

    def _release(self) -> None:
        # One that has gone takes nothing any more, and there is nothing to set right.
        with contextlib.suppress(OSError):
            self._console.show_cursor(True)
            self._console.set_alt_screen(False)
        if self._before is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self.fd, termios.TCSADRAIN, self._before)
            self._before = None
