"""`magent top` on a real terminal, against a running proxy and against one that a test plays."""

import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memagent.cli.running import RunningProxy
from memagent.snapshot import ServerSnapshot
from tests.support import processes
from tests.support.control_stand_in import SERVER, ControlStandIn, answers, snapshot_of
from tests.support.memcached import Memcached
from tests.support.processes import ROOT
from tests.support.proxy import Proxy
from tests.support.tmux import Tmux
from tests.support.wait import wait_until

MANY = [replace(SERVER, name=f"s{number}") for number in range(40)]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Tmux]]:
    """A terminal with a shell in the test's folder."""
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    with ExitStack() as stack:

        def start(columns: int = 80, lines: int = 24, **env: str) -> Tmux:
            return stack.enter_context(Tmux(tmp_path, {"PYTHONPATH": path, **env}, columns, lines))

        yield start


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Callable[..., ControlStandIn]]:
    """A proxy that answers for these servers, and refuses to drain where `refuses` says how."""
    with ExitStack() as stack:

        def start(*servers: ServerSnapshot, refuses: dict[str, Any] | None = None) -> ControlStandIn:
            handle = answers(snapshot_of(*servers))
            return stack.enter_context(
                ControlStandIn(
                    tmp_path / "c.sock",
                    lambda request: [refuses] if refuses and request["verb"] == "drain" else handle(request),
                )
            )

        yield start


def top(control: str, *arguments: str) -> str:
    return shlex.join([sys.executable, "-m", "memagent", "top", "--socket", control, *arguments])


def state_of(control: str, name: str) -> str:
    with RunningProxy.at(control) as proxy:
        return next(server.state for server in proxy.snapshot().servers() if server.name == name)


def pid_of_top(shell: Tmux) -> int:
    """Once it is drawn; the shell's only child."""
    shell.shows("q quit")
    [pid] = processes.children(shell.shell_pid)
    return pid


def test_a_running_proxy_from_the_first_look_to_the_last_key(
    memcached_factory: Callable[..., Memcached],
    proxy_factory: Callable[..., Proxy],
    terminal: Callable[..., Tmux],
    tmp_path: Path,
) -> None:
    servers = [{"address": memcached_factory("new").address, "name": name} for name in ("s0", "s1", "b0")]
    control = str(tmp_path / "control.sock")
    proxy = proxy_factory(servers[:2], servers[2:], workers=2, settings={"control_socket": control})
    with proxy.connect() as wire:
        for number in range(100):
            wire.expect(b"set key:%d 0 0 1\r\nx\r\n" % number, b"STORED\r\n")
    shell = terminal()
    shell.enter(top(control))
    lines = shell.shows("requests/s", "> s0 ", "  b0 ", "q quit", "OPS/S", "JOURNAL", "WARM", "P99")
    assert len(lines) == 24
    assert "2 workers" in lines[0]

    shell.type("s")
    shell.shows("s sort: NAME")
    assert [line[2:4] for line in shell.lines()[4:7]] == ["b0", "s0", "s1"]
    shell.type("S", "j", "d")
    shell.shows("Take the server s1", "y drain it")
    shell.type("y")
    wait_until(lambda: state_of(control, "s1") == "drained", 20, "s1 drained")
    shell.shows("> s1        drained")
    shell.type("d")
    shell.shows("Take the server s1", "back into service", "y undrain it")
    shell.type("y")
    wait_until(lambda: state_of(control, "s1") == "up", 20, "s1 up")
    shell.shows("> s1        up")

    shell.type("e")
    shell.shows("key to explain: _")
    shell.type("key:7", "Enter")
    shell.shows("owner and copy agree", "any key: back")
    shell.type("Space")
    shell.shows("q quit")
    shell.type("?")
    shell.shows("help", "explain a key")
    shell.type("Escape")
    shell.shows("q quit")
    shell.type("q")
    shell.is_plain_again()


@pytest.mark.parametrize(
    ("ending", "code"),
    [("q", 0), ("C-c", 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["q", "Ctrl-C", "SIGTERM", "SIGHUP"],
)
def test_the_terminal_is_as_it_was(
    terminal: Callable[..., Tmux],
    played: Callable[..., ControlStandIn],
    tmp_path: Path,
    ending: str | int,
    code: int,
) -> None:
    proxy = played(SERVER)
    shell = terminal()
    shell.enter(f"stty -g > before; {top(proxy.path)}; echo ended with $?; stty -g > after; echo done > end")
    pid = pid_of_top(shell)
    if isinstance(ending, str):
        shell.type(ending)
    else:
        os.kill(pid, ending)
    shell.shows(f"ended with {code}")
    shell.is_plain_again()
    # what stood there before is there again, and nothing of the list
    assert "stty -g > before" in shell.text()
    assert "q quit" not in shell.text()
    wait_until((tmp_path / "end").exists, what="the end of the shell's line")
    assert (tmp_path / "before").read_text() == (tmp_path / "after").read_text() != ""


def test_suspended_and_back(terminal: Callable[..., Tmux], played: Callable[..., ControlStandIn]) -> None:
    proxy = played(SERVER)
    shell = terminal()
    shell.enter(top(proxy.path))
    pid = pid_of_top(shell)
    shell.type("C-z")
    wait_until(lambda: processes.state(pid) == "T", what="magent top suspended")
    shell.is_plain_again()
    shell.enter("echo in between; fg")
    shell.shows("> a ", "q quit")
    shell.type("s")
    shell.shows("s sort: NAME")
    shell.type("q")
    shell.shows("in between")
    shell.is_plain_again()


def test_more_servers_than_lines_and_another_size(
    terminal: Callable[..., Tmux], played: Callable[..., ControlStandIn]
) -> None:
    proxy = played(*MANY)
    shell = terminal()
    shell.enter(top(proxy.path))
    shell.shows("servers 1-19 of 40", "> s0 ", "  s18 ")
    shell.type("G")
    shell.shows("servers 22-40 of 40", "> s39 ")
    shell.resize(132, 50)
    shell.shows("  s0 ", "> s39 ", "LEFT", "QUEUE", "ADDRESS")
    shell.resize(40, 10)
    shell.shows_no_more("  s0 ")
    lines = shell.shows("> s39 ", "  s35 ", "d drain")
    assert max(map(len, lines)) <= 40
    shell.resize(12, 3)
    shell.shows("memagent")
    shell.resize(80, 24)
    shell.shows("servers 22-40 of 40", "q quit")
    shell.type("q")
    shell.is_plain_again()


def test_pools_have_a_column(terminal: Callable[..., Tmux], played: Callable[..., ControlStandIn]) -> None:
    proxy = played(SERVER, replace(SERVER, pool="users"))
    shell = terminal()
    shell.enter(top(proxy.path))
    lines = shell.shows("POOL", "> main ", "  users ", "q quit")
    assert max(map(len, lines)) <= 80


def test_a_proxy_that_goes_away_and_comes_back(
    terminal: Callable[..., Tmux], played: Callable[..., ControlStandIn]
) -> None:
    proxy = played(SERVER)
    shell = terminal()
    shell.enter(top(proxy.path, "--interval", "200ms"))
    shell.shows("> a ", "requests/s")
    proxy.close()
    shell.shows(" s old: no proxy listens at", "> a ")
    shell.type("d", "y")
    wait_until(lambda: "no proxy listens at" in shell.lines()[2], what="a refusal")
    played(replace(SERVER, name="new"))
    shell.shows("> new ", "requests/s")
    shell.type("q")
    shell.is_plain_again()


def test_what_is_refused_is_asked_again_with_force(
    terminal: Callable[..., Tmux], played: Callable[..., ControlStandIn]
) -> None:
    why = "a holds the only copy of its keys"
    proxy = played(SERVER, refuses={"error": why, "hint": None, "force": True})
    shell = terminal()
    shell.enter(top(proxy.path))
    shell.shows("q quit")
    shell.type("d", "y")
    shell.shows(why, "Do it nevertheless?", "f drain it by force")
    shell.type("n")
    shell.shows("nothing was done")
    assert not any(request.get("force") for request in proxy.requests)


@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}], ids=["colour", "NO_COLOR"])
def test_colour_is_never_needed(
    terminal: Callable[..., Tmux], played: Callable[..., ControlStandIn], env: dict[str, str]
) -> None:
    proxy = played(SERVER, replace(SERVER, name="b", state="down"))
    shell = terminal(**env)
    shell.enter(top(proxy.path))
    shell.shows("> a         up", "  b         down")
    painted = re.findall(r"\x1b\[(?:\d+;)*3[1-6]m", "\n".join(shell.lines(with_styles=True)))
    assert bool(painted) is not bool(env)


def test_where_it_cannot_draw(terminal: Callable[..., Tmux], played: Callable[..., ControlStandIn]) -> None:
    proxy = played(SERVER)
    shell = terminal()
    shell.enter(f"TERM=dumb {top(proxy.path)}; echo ended with $?")
    shell.shows("cannot draw on this terminal: TERM is dumb", "magent top --once", "ended with 2")
    shell.enter(f"TERM=dumb {top(proxy.path, '--once')} | cut -c1-20; echo that was all")
    shell.shows("NAME", "that was all")
    shell.enter("clear")
    shell.enter(f"{top(proxy.path + '.none')}; echo ended with $?")
    shell.shows("no proxy listens at", "is it running? say where: --socket", "ended with 1")
    assert shell.is_plain
