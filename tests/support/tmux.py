"""A real terminal, played by tmux: what stands on it, keys, another size (Debian's package `tmux`)."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from .processes import exists
from .wait import wait_until


class Tmux:
    """One terminal with a shell in it, that of a tmux server of its own. Use it in a `with`."""

    def __init__(self, folder: Path, env: Mapping[str, str], columns: int = 80, lines: int = 24) -> None:
        program = shutil.which("tmux")
        assert program, "tmux is missing: apt-get install tmux"
        self._command = [program, "-S", str(folder / "tmux.sock"), "-f", os.devnull]
        # Nothing of a tmux in which the tests may be running, and characters of more than ASCII.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TMUX")}
        self._env = {**kept, "LC_ALL": "C.UTF-8", "TERM": "xterm", "ENV": "", **env}
        self._run("new-session", "-d", "-x", str(columns), "-y", str(lines), "-c", str(folder), "/bin/sh")
        self.pid, self.shell_pid = map(int, self._run("display-message", "-p", "#{pid} #{pane_pid}").split())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            with contextlib.suppress(subprocess.SubprocessError):
                print(f"--- the terminal ---\n{self.text()}\n--- end ---")
        with contextlib.suppress(subprocess.SubprocessError):
            self._run("kill-server")
        wait_until(lambda: not exists(self.pid), what="the end of tmux")

    def type(self, *keys: str) -> None:
        """Keys as tmux names them: q, Up, C-c, Enter; anything else letter by letter."""
        self._run("send-keys", *keys)

    def enter(self, line: str) -> None:
        """A line for the shell; it waits there until that reads it."""
        self._run("send-keys", "-l", line)
        self._run("send-keys", "Enter")

    def resize(self, columns: int, lines: int) -> None:
        self._run("resize-window", "-x", str(columns), "-y", str(lines))

    def lines(self, with_styles: bool = False) -> list[str]:
        """What stands there now; trailing spaces are left away."""
        return self._run("capture-pane", "-p", *(["-e"] if with_styles else [])).split("\n")[:-1]

    def text(self) -> str:
        return "\n".join(self.lines())

    def shows(self, *texts: str, deadline_s: float = 15.0) -> list[str]:
        """The lines, once all these texts stand there."""
        wait_until(
            lambda: all(text in self.text() for text in texts),
            deadline_s,
            lambda: f"{texts} on the terminal\n{self.text()}\n",
            every_s=0.05,
        )
        return self.lines()

    def shows_no_more(self, text: str, deadline_s: float = 15.0) -> None:
        wait_until(
            lambda: text not in self.text(),
            deadline_s,
            lambda: f"{text!r} gone from the terminal\n{self.text()}\n",
            every_s=0.05,
        )

    def is_plain_again(self) -> None:
        wait_until(lambda: self.is_plain, 15, "the usual screen with its cursor", every_s=0.05)

    @property
    def is_plain(self) -> bool:
        """Is it the usual screen, with its cursor?"""
        return self._run("display-message", "-p", "#{alternate_on} #{cursor_flag}").strip() == "0 1"

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._command, *arguments],
            capture_output=True,
            text=True,
            env=self._env,
            timeout=20,
            check=True,
        )
        return done.stdout
