"""The running proxy as `magent top` asks it."""

import contextlib
from dataclasses import replace

import pytest

from memagent.cli.running import RunningProxy
from memagent.cli.top.proxy import TopProxy
from memagent.errors import ConfigError, ControlError
from memagent.questions import Request, about_migration, about_service
from memagent.settings import PoolConfig
from tests.support.control_stand_in import MOVING, SERVER, answers, counts_of, done, snapshot_of


def answer(request):
    if request["verb"] == "drain":
        return [done(SERVER)]
    return answers(snapshot_of(SERVER), PoolConfig.model_validate({"name": "main", "servers": ["10.0.0.1"]}))(
        request
    )


@pytest.fixture
def proxy(stand_in):
    served = stand_in(answer)
    proxy = TopProxy(RunningProxy.at(served.path))
    yield proxy, served
    proxy.close()


def test_readings_come_over_one_connection(proxy):
    watched, served = proxy
    for _ in range(3):
        reading = watched.read()
        assert (reading.snapshot, reading.counts) == (snapshot_of(SERVER), counts_of(snapshot_of(SERVER)))
    assert served.requests == [{"verb": "counters"}] * 3


def test_a_proxy_that_goes_and_comes_back(proxy, stand_in):
    watched, served = proxy
    watched.read()
    served.close()
    for _ in range(2):
        with pytest.raises(ControlError):
            watched.read()
    with stand_in(answer, served.path):
        assert watched.read().snapshot == snapshot_of(SERVER)
        watched.close()


def test_what_is_asked(proxy):
    watched, served = proxy
    assert watched.ask(about_service(SERVER, True).choices["y"].request) == "server a is up"
    assert served.requests == [
        {"verb": "drain", "server": "a", "pool": "main", "backup": False, "wait": False}
    ]
    with pytest.raises(ControlError, match="no such request"):
        watched.ask(Request("nothing", "a", {}))


def test_what_is_asked_of_a_migration(stand_in):
    snapshot = replace(snapshot_of(SERVER), migrations=(replace(MOVING, state="paused"),))

    def handle(request):
        return [{"ok": True}] if request["verb"] == "migration_pause" else answers(snapshot)(request)

    with stand_in(handle) as served:
        watched = TopProxy(RunningProxy.at(served.path))
        said = watched.ask(about_migration(MOVING).choices["p"].request)
        watched.close()
    assert said == "pool main: paused: 50 %, 1,200 keys copied, 5000B, 100 copied/s, 60 s left"
    assert served.requests[0] == {"verb": "migration_pause", "pool": "main"}


def test_a_key_that_can_be_none(proxy):
    with pytest.raises(ConfigError, match="space"):
        proxy[0].explain("a b")


def test_a_key_is_explained(proxy, memcached_factory, stand_in):
    server = memcached_factory()
    pool = PoolConfig.model_validate({"name": "main", "servers": [server.address]})
    served = stand_in(answers(snapshot_of(SERVER), pool), "other.sock")
    with contextlib.closing(TopProxy(RunningProxy.at(served.path))) as watched:
        lines = watched.explain("x\udcff")
    assert lines[0] == "key     x\\xff"
    assert lines[-1] == "this pool keeps no copies"
