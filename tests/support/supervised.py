"""A supervisor with stand-in workers, started as a process of its own."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from .ports import free_port
from .processes import ROOT, Process, children
from .wait import wait_until
from .wire import Wire

WORKER = "tests.support.stand_in_worker"
ENV = {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}


class Supervisor:
    """A supervisor with stand-in workers and what it has said so far."""

    def __init__(self, folder: Path, settings: dict[str, Any], stand_in: str) -> None:
        self.port = free_port()
        self.config = {
            "listen": [f"127.0.0.1:{self.port}"],
            "workers": 2,
            "drain_ms": 5000,
            "pools": [{"name": "main", "servers": ["127.0.0.1:1"]}],
            **settings,
        }
        self.env = {**ENV, "STAND_IN": stand_in}
        self.command = [
            sys.executable, "-m", "tests.support.run_supervisor", json.dumps(self.config), WORKER,
        ]  # fmt: skip
        self.folder = folder

    def start(self, **env: str) -> "Supervisor":
        self.process = Process(self.command, self.folder / "log", {**self.env, **env})
        return self

    def lines(self, event: str = "") -> list[dict[str, Any]]:
        found = []
        for line in self.process.output().splitlines():
            if line.startswith("{") and line.endswith("}"):
                found.append(json.loads(line))
        return [each for each in found if event in each["event"]]

    def wait_for(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        def there() -> list[dict[str, Any]] | None:
            found = self.lines(event)
            return found if len(found) >= count else None

        found = wait_until(there, 20, lambda: f"{count} x {event!r} in {self.process.describe()}")
        assert found is not None
        return found

    def wait_ready(self) -> "Supervisor":
        self.wait_for("memagent is ready")
        return self

    def workers(self) -> list[int]:
        return children(self.process.pid)

    def ask(self, question: bytes = b"pid") -> str:
        with Wire(("127.0.0.1", self.port)) as wire:
            return wire.ask(question + b"\r\n").decode().strip()

    def ask_each(self) -> set[int]:
        """The workers that answer, asked until all of them have."""
        answers: set[int] = set()
        wait_until(lambda: answers.add(int(self.ask())) or len(answers) == 2, 20, "two workers' answers")
        return answers
