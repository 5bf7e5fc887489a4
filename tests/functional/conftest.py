"""Processes that a whole file of tests shares."""

from collections.abc import Iterator

import pytest

from tests.functional.tools import Shop, gauges, wait_idle
from tests.support.memcached import Memcached
from tests.support.proxy import Proxy


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
