"""The process of a newer proxy: how it is started, and what is made of its end."""

import asyncio
import os
import socket
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from memagent.admin.requests import RefusedError
from memagent.successor import Command, Inheritance, Successor, last_words
from tests.support.processes import ROOT, exists

# What every newer one does first.
BEGIN = """
import os, socket, sys, time
from memagent.takeover import *
channel = socket.socket(fileno=int(os.environ[VARIABLE]))
told = channel.recv(9999)
"""


def newer(program: str, test: Callable[[Successor], Coroutine[Any, Any, None]]) -> None:
    """A process that runs this, and what the test says of it."""

    async def whole() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as control:
            environment = {"PYTHONPATH": str(ROOT / "src"), "HOME": "/"}
            command = Command((sys.executable, "-c", BEGIN + program), "/", environment)
            inherits = Inheritance([listening.fileno()], [], control.fileno(), {"A": "b"})
            successor = await Successor.start(command, inherits)
            try:
                await test(successor)
            finally:
                await successor.kill()
                assert not exists(successor.pid)

    asyncio.run(whole())


def test_from_its_first_word_to_its_last():
    async def test(successor: Successor) -> None:
        assert await successor.hello() == "/ b"
        await successor.ready()
        await successor.take_over()

    newer(
        """
say(channel, Hello(os.getcwd() + " " + os.environ["A"]))
say(channel, Ready())
assert b'"go"' in channel.recv(99)
say(channel, Taken())
channel.recv(99)
""",
        test,
    )


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("sys.exit(3)", "the new version does not start: it ended: exit code 3"),
        ("1 / 0", "the new version does not start: ZeroDivisionError: division by zero"),
        ("sys.exit('magent: error: no room')", "the new version does not start: no room"),
        ("os.kill(os.getpid(), 9)", "the new version does not start: it ended: killed by SIGKILL"),
        ("say(channel, Failed('no port', 'ask'))", "the new version does not start: no port"),
        ("say(channel, Ready())\ntime.sleep(60)", "the new version does not know how to take over"),
    ],
)
def test_one_that_fails_says_why(program: str, why: str):
    async def test(successor: Successor) -> None:
        with pytest.raises(RefusedError) as caught:
            await successor.hello()
        assert caught.value.error.startswith(why)
        assert str(caught.value.hint).endswith("nothing has changed, the running proxy goes on")

    newer(program, test)


def test_one_that_ends_instead_of_taking_over():
    async def test(successor: Successor) -> None:
        await successor.hello()
        await successor.ready()
        with pytest.raises(RefusedError, match="it ended: exit code 0"):
            await successor.take_over()

    newer("say(channel, Hello('2'))\nsay(channel, Ready())", test)


def test_what_cannot_be_started(tmp_path: Path):
    async def test(command: Command) -> None:
        with pytest.raises(RefusedError, match=r"cannot be started: .*No such file"):
            await Successor.start(command, Inheritance([], [], 0, {}))

    asyncio.run(test(Command((str(tmp_path / "none"),), "/", {})))
    asyncio.run(test(Command((sys.executable,), str(tmp_path / "none"), {})))


def test_how_we_were_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    script = tmp_path / "magent"
    script.write_text("#!/usr/bin/python3\n")
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "memagent", "run"])
    monkeypatch.setenv("A", "b")
    found = Command.ours()
    assert found.arguments == (sys.executable, "-m", "memagent", "run")
    assert (found.folder, found.environment["A"]) == (os.getcwd(), "b")
    monkeypatch.setattr(sys, "orig_argv", ["python", str(script), "run"])
    assert Command.ours().arguments == (sys.executable, str(script), "run")
    script.chmod(0o755)
    assert Command.ours().arguments == (str(script), "run")
    monkeypatch.setattr(sys, "orig_argv", ["python"])
    assert Command.ours().arguments == (sys.executable,)


def test_last_words():
    assert last_words(b"") == ""
    assert last_words(b"a\n\nmagent: error: b\nhint: c\n") == "a\nb\nhint: c"
    assert last_words(b"Traceback (most recent call last):\n  File x\nOSError: no\n") == "OSError: no"
