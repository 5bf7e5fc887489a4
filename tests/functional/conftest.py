"""Processes that a whole file of tests shares."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.functional.duo import QUICK, Duo, StartDuo
from tests.functional.tools import Shop, gauges, wait_idle
from tests.support.memcached import Memcached, Version
from tests.support.proxy import Proxy
from tests.support.relay import Relay


@pytest.fixture(scope="module")
def direct() -> Iterator[Memcached]:
    """A memcached that is asked without the proxy: what it says is right."""
    server = Memcached.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """One worker before three servers of both kinds."""
    servers = [Memcached.start(), Memcached.start("new"), Memcached.start()]
    proxy = Proxy.start(servers)
    before = gauges(proxy)
    yield Shop(servers, proxy)
    try:
        wait_idle(proxy, before)
        assert proxy.stop() == 0
    finally:
        proxy.clean_up()
        for server in servers:
            server.stop()


@pytest.fixture(params=["old", "new"])
def version(request: pytest.FixtureRequest) -> Version:
    """Both kinds of memcached: fleets run both."""
    kind: Version = request.param
    return kind


@pytest.fixture
def start_duo(
    memcached_factory: Callable[..., Memcached],
    proxy_factory: Callable[..., Proxy],
    relay_factory: Callable[..., Relay],
    version: Version,
) -> StartDuo:
    """One server and one backup; `relayed` puts relays before them. Ended after the test."""

    def start(*, relayed: bool = False, workers: int = 1, args: tuple[str, ...] = (), **pool: Any) -> Duo:
        owner, copy = memcached_factory(version, args=args), memcached_factory(version, args=args)
        relays = [relay_factory(each) for each in (owner, copy)] if relayed else []
        servers = relays or [owner, copy]
        proxy = proxy_factory([servers[0]], [servers[1]], workers=workers, pool={**QUICK, **pool})
        return Duo(owner, copy, proxy, relays)

    return start


@pytest.fixture
def duo(start_duo: StartDuo) -> Duo:
    return start_duo()
