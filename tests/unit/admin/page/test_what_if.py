"""What a change would move, counted on keys that real servers have."""

import asyncio
from collections.abc import Callable

import pytest

from memagent.admin.page.what_if import Answer, Wish, answer
from memagent.admin.requests import InvalidError, UnknownError
from memagent.settings import Config
from memagent.topology import make_placement
from tests.support.memcached import Memcached
from tests.support.ports import free_port
from tests.support.snapshots import config_of, snapshot_of


def ask(config: Config, what: str, value: str, pool: str = "main", down: tuple[int, ...] = ()) -> Answer:
    wish = Wish.model_validate({"pool": pool, "what": what, "value": value})
    return asyncio.run(answer(wish, config, snapshot_of(config, dict.fromkeys(down, "down"))))


def test_keys_that_are_there(memcached_factory: Callable[..., Memcached]):
    servers = [memcached_factory() for _ in range(2)]
    named = zip(servers, "ab", strict=True)
    config = config_of(servers=[{"address": each.address, "name": name} for each, name in named])
    placement = make_placement(config.pools[0])
    for number in range(200):
        key = b"key:%d" % number
        servers[placement.locate(key)[0]].set(key, b"value")
    added = ask(config, "add", f"127.0.0.1:{free_port()}")
    assert added.keys == 200
    assert 20 < added.moved == added.lost < 120
    assert sum(way.keys for way in added.ways) == added.moved
    assert {way.came_from for way in added.ways} <= {"a", "b"}
    removed = ask(config, "remove", "b")
    assert {(way.came_from, way.to) for way in removed.ways} == {("b", "a")}
    assert ask(config, "distribution", config.pools[0].distribution).moved == 0
    assert ask(config, "distribution", "jump").moved > 0
    partial = ask(config, "remove", "b", down=(1,))
    assert (partial.moved, partial.not_asked) == (0, ["b"])


def test_nobody_answers():
    address = f"127.0.0.1:{free_port()}"
    found = ask(config_of(servers=[address, "127.0.0.2:1"]), "remove", address, down=(1,))
    assert (found.keys, found.moved) == (0, 0)
    assert found.not_asked == ["127.0.0.2:1", address]


IMPOSSIBLE = [("remove", "10.0.0.1:1"), ("add", "no address"), ("add", "10.0.0.1:1"), ("distribution", "x")]


@pytest.mark.parametrize(("what", "value"), IMPOSSIBLE)
def test_what_cannot_be(what: str, value: str):
    with pytest.raises(InvalidError):
        ask(config_of(servers=["10.0.0.1:1"]), what, value)


def test_what_is_not_there():
    config = config_of(servers=["10.0.0.1:1", "10.0.0.2:1"])
    with pytest.raises(UnknownError, match="server"):
        ask(config, "remove", "nobody")
    with pytest.raises(UnknownError, match="pool"):
        ask(config, "remove", "10.0.0.1:1", pool="nowhere")
