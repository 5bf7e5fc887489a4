"""What every test may ask for: real memcached servers, real proxies, and no leftovers of either."""

import gc
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support import processes
from tests.support.build import stale_modules
from tests.support.memcached import Memcached
from tests.support.processes import ROOT
from tests.support.proxy import Proxy
from tests.support.relay import Relay

# A suite that was started in the background has Ctrl-C ignored, and so would every program that it starts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Hundreds of proxies are started: compiling our modules anew for each would be a good part of the run.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["PYTHONPYCACHEPREFIX"] = str(ROOT / ".cache" / "bytecode")

# How long an example takes says something about the machine only.
settings.register_profile("memagent", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("memagent")

_WAITING = ("functional", "adversity", "chaos")

_REPORT = pytest.StashKey[dict[str, pytest.TestReport]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files whose tests wait stand evenly among those whose tests compute: both are there at any time."""
    files = [list(each) for _, each in groupby(items, lambda item: item.path)]
    sizes = {True: 0, False: 0}
    places: list[tuple[int, bool]] = []
    for file in files:
        waits = any(part in _WAITING for part in file[0].path.parts)
        places.append((2 * sizes[waits] + len(file), waits))
        sizes[waits] += len(file)
    order = sorted(range(len(files)), key=lambda i: places[i][0] / sizes[places[i][1]])
    items[:] = [item for i in order for item in files[i]]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse a stale build: all of it in a run of the whole suite, else what the chosen tests import."""
    _refuse_stale(only_loaded=session.config.args_source is pytest.Config.ArgsSource.ARGS)
    # Many tests look for what they have left behind: not through thousands of collected tests each time.
    gc.freeze()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Who hands the tests to other processes collects none: a refusal of theirs would be shown as a crash."""
    if session.config.getoption("numprocesses", None):
        _refuse_stale(only_loaded=False)


@cache
def _refuse_stale(only_loaded: bool) -> None:
    if problems := stale_modules(only_loaded):
        pytest.exit("The build is stale: " + "; ".join(problems) + ". Run `make dev`.", returncode=4)


def pytest_configure() -> None:
    """SIGTERM ends a run as Ctrl-C does: fixtures are torn down, nothing stays behind."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash.setdefault(_REPORT, {})[report.when] = report
    return report


class _Parts:
    """What a test has started, ended in the reverse order whatever happened."""

    def __init__(self) -> None:
        self.memcacheds: list[Memcached] = []
        self.proxies: list[Proxy] = []
        self.relays: list[Relay] = []

    def clean_up(self) -> None:
        for proxy in self.proxies:
            proxy.clean_up()
        for relay in self.relays:
            relay.close()
        for server in self.memcacheds:
            server.kill()
            server.stop()


@pytest.fixture
def _parts(request: pytest.FixtureRequest) -> Iterator[_Parts]:
    parts = _Parts()
    yield parts
    reports = request.node.stash.get(_REPORT, {})
    if any(report.failed for report in reports.values()):
        for proxy in parts.proxies:
            print(f"--- log of {' '.join(proxy.command)} ---\n{proxy.output()}--- end ---")
    parts.clean_up()
    left = [process.describe() for process in processes.still_running()]
    assert not left, f"processes outlived the test: {left}"


@pytest.fixture
def memcached_factory(_parts: _Parts) -> Callable[..., Memcached]:
    """`Memcached.start`, ended after the test."""

    def start(*args: Any, **settings: Any) -> Memcached:
        server = Memcached.start(*args, **settings)
        _parts.memcacheds.append(server)
        return server

    return start


@pytest.fixture
def proxy_factory(_parts: _Parts) -> Callable[..., Proxy]:
    """`Proxy.start`, or `Proxy.start_with_flags` for `flags=[...]`; ended after the test.

    Where the test fails, the proxy's log is in the report.
    """
    _refuse_stale(only_loaded=False)

    def start(*args: Any, flags: list[str] | None = None, **settings: Any) -> Proxy:
        proxy = (
            Proxy.start(*args, **settings)
            if flags is None
            else Proxy.start_with_flags(flags, *args, **settings)
        )
        _parts.proxies.append(proxy)
        return proxy

    return start


@pytest.fixture
def relay_factory(_parts: _Parts) -> Callable[..., Relay]:
    """`Relay(target)`, closed after the test."""

    def start(target: Any) -> Relay:
        relay = Relay(getattr(target, "endpoint", target))
        _parts.relays.append(relay)
        return relay

    return start


@dataclass
class Cluster:
    servers: list[Memcached]
    proxy: Proxy


@pytest.fixture
def cluster(memcached_factory: Callable[..., Memcached], proxy_factory: Callable[..., Proxy]) -> Cluster:
    """Three servers and a proxy with one worker before them."""
    servers = [memcached_factory() for _ in range(3)]
    return Cluster(servers, proxy_factory(servers))
