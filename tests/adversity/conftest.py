"""A proxy before one server that lies and one that does not, shared by a file of tests."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.functional.tools import gauges, item, route, store, wait_idle
from tests.support.liar import Liar, Script, Talk
from tests.support.memcached import Memcached
from tests.support.proxy import Proxy
from tests.support.wait import wait_until
from tests.support.wire import Wire

REQUEST_S = 0.4
"""request_timeout_ms of the proxy of these tests."""
GRACE_S = 0.25
"""What a loaded machine may add."""


@dataclass
class Stage:
    """`lies` are keys of the liar, `truths` of the memcached, where each holds its own name."""

    liar: Liar
    honest: Memcached
    proxy: Proxy
    lies: list[bytes]
    truths: list[bytes]
    idle: dict[str, int]

    def play(self, script: Script) -> None:
        """From now on the liar does this; returns when the proxy has a connection that follows it."""
        before = self.liar.accepted
        self.liar.use(script)
        wait_until(lambda: self.liar.accepted > before, what="the proxy to call the liar again")

    def others_are_well(self, wire: Wire) -> None:
        key = self.truths[0]
        wire.expect(b"get " + key + b"\r\n", item(key, key) + b"END\r\n")


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    honest = Memcached.start()
    with Liar(Talk.honest) as liar:
        pool = {"request_timeout_ms": int(REQUEST_S * 1000), "failure_limit": 1000, "probe_max_ms": 200}
        proxy = Proxy.start([liar.address, honest], pool=pool)
        try:
            keys = [b"key:%d" % number for number in range(100)]
            owners = route(proxy, keys)
            lies = [key for key, owner in zip(keys, owners, strict=True) if owner == 0]
            truths = [key for key, owner in zip(keys, owners, strict=True) if owner == 1]
            with proxy.connect() as wire:
                store(wire, {key: key for key in truths})
            yield Stage(liar, honest, proxy, lies, truths, gauges(proxy))
            assert proxy.stop() == 0
        finally:
            proxy.clean_up()
            honest.kill()
            honest.stop()


@pytest.fixture(autouse=True)
def _nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test on the stage: every gauge is where it was, and everybody is served."""
    yield
    if "stage" in request.fixturenames:
        stage: Stage = request.getfixturevalue("stage")
        stage.play(Talk.honest)
        wait_idle(stage.proxy, stage.idle)
        with stage.proxy.connect() as wire:
            wait_until(
                lambda: wire.ask(b"delete " + stage.lies[0] + b"\r\n") == b"NOT_FOUND\r\n", what="the liar"
            )
            store(wire, {key: key for key in stage.truths})
