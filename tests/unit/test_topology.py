"""A pool's settings become rings."""

import os
from typing import get_args

import pytest

from memagent import topology
from memagent._core.buffer import Memory
from memagent._core.ring import Placement
from memagent._core.turn import Turn
from memagent.segment import Segment
from memagent.settings import Config, Distribution, KeyHash, Migration, PoolConfig
from memagent.topology import Topology, make_placement

KEYS = [f"key{n}".encode() for n in range(300)]


def places(**settings):
    pool = PoolConfig.model_validate({"name": "main", **settings})
    placement = make_placement(pool)
    return [placement.locate(key) for key in KEYS]


def test_without_backups_there_is_no_copy():
    assert {copy for _, copy in places(servers=["a", "b", "c"])} == {-1}


def test_backups_have_a_ring_of_their_own():
    found = places(servers=["a", "b"], backups=["x", "y", "z"])
    assert {owner for owner, _ in found} == {0, 1}
    assert {copy for _, copy in found} == {0, 1, 2}


def test_two_copies_are_on_two_servers():
    assert all(
        owner != copy and copy in (0, 1, 2) for owner, copy in places(servers=["a", "b", "c"], copies=2)
    )


def test_a_name_keeps_the_keys_when_the_machine_is_replaced():
    before = places(servers=[{"address": "10.0.0.1", "name": "a"}, {"address": "10.0.0.2", "name": "b"}])
    after = places(servers=[{"address": "10.9.9.9:5", "name": "a"}, {"address": "10.0.0.2", "name": "b"}])
    assert before == after
    assert before != places(servers=["10.0.0.1", "10.0.0.2"])


def test_weight_and_hash_tag_reach_the_ring():
    heavy = places(servers=["a", {"address": "b", "weight": 20}])
    assert sum(owner for owner, _ in heavy) > len(KEYS) * 0.8
    pool = PoolConfig.model_validate({"name": "main", "servers": ["a", "b", "c", "d"], "hash_tag": "{}"})
    placement = make_placement(pool)
    assert len({placement.locate(b"{tag}" + key) for key in KEYS}) == 1


@pytest.mark.parametrize("distribution", get_args(Distribution))
def test_every_distribution_and_key_hash_of_the_table_has_a_ring(distribution):
    for key_hash in ["md5"] if distribution == "magent-ketama" else get_args(KeyHash):
        found = places(servers=["a", "b"], backups=["c"], distribution=distribution, key_hash=key_hash)
        assert {owner for owner, _ in found} <= {0, 1}
        assert {copy for _, copy in found} == {0}


def test_rings_are_made_anew_only_where_they_change(monkeypatch: pytest.MonkeyPatch):
    made = []

    def counted(pool: PoolConfig) -> Placement:
        made.append(pool)
        return make_placement(pool)

    monkeypatch.setattr(topology, "make_placement", counted)
    segment = Segment.create(1, 3)
    settled = Topology(segment, 0, Turn(), Memory(1 << 20))
    first = Config.model_validate({"pools": [{"name": "main", "servers": ["a", "b"]}]})
    second = Config.model_validate({"pools": [{"name": "main", "servers": ["a", "c"]}]})
    settled.settle(first, (0, 1), (0,))
    assert made == [*first.pools]
    pool = settled.pools["main"]
    assert {owner.name for owner, _ in map(pool.place, KEYS)} == {"a:11211", "b:11211"}
    main = first.pools[0].model_copy(update={"request_timeout_ms": 7, "fallback": "never"})
    settled.settle(first.model_copy(update={"verbose": True, "pools": (main,)}), (0, 1), (0,))
    assert made == [*first.pools]
    settled.settle(second, (0, 2), (0,))
    assert made == [*first.pools, *second.pools]
    assert settled.pools["main"] is pool
    assert {owner.name for owner, _ in map(pool.place, KEYS)} == {"a:11211", "c:11211"}
    os.close(segment.fd)


def test_what_a_pool_promises_is_as_its_settings_say_now():
    """behaviour.md section 2: none up, multigets, acknowledgement, repairs; also after a reload."""
    segment = Segment.create(1, 2)
    settled = Topology(segment, 0, Turn(), Memory(1 << 20))

    def promised(**settings):
        pool = {"name": "main", "servers": ["a", "b"], **settings}
        settled.settle(Config.model_validate({"pools": [pool]}), (0, 1), (0,))
        made = settled.pools["main"]
        return (
            *(made.has_copies, made.miss_when_down, made.acknowledge_all),
            *(made.multiget_deadline_us, made.repair_ttl_s),
        )

    assert promised() == (False, True, False, 0, 60)
    other = {"get_when_down": "error", "multiget_deadline_ms": 20, "repair_ttl_ms": "5m"}
    assert promised(copies=2, acknowledge="all", **other) == (True, False, True, 20_000, 300)
    assert promised(repair_ttl_ms="1s") == (False, True, False, 0, 1)
    os.close(segment.fd)


def test_keys_that_move_have_two_servers_until_the_migration_ends():
    """And objects live on: a server is told that what it misses matters, and later that it does no more."""
    segment = Segment.create(1, 3)
    settled = Topology(segment, 0, Turn(), Memory(1 << 20))
    former = PoolConfig.model_validate({"name": "main", "servers": ["a", "b"]})
    new = PoolConfig.model_validate({"name": "main", "servers": ["a", "c"]})

    def phase(name: str) -> set[tuple[str, str | None]]:
        joint = new.model_copy(
            update={
                "servers": (*new.servers, former.servers[1]),
                "migration": Migration(phase=name, former=former, n_settled=2),
            }
        )
        settled.settle(Config.model_validate({"pools": [joint]}), (0, 2, 1), (0,))
        return {(one.name[0], other and other.name[0]) for one, other in map(pool.place, KEYS)}

    settled.settle(Config.model_validate({"pools": [former]}), (0, 1), (0,))
    pool, servers = settled.pools["main"], dict(settled.servers)
    assert (pool.has_copies, servers[0].has_copies) == (False, False)
    moves = {("a", None), ("b", "c"), ("a", "c"), ("b", "a")}
    for name in ("mirror", "copy"):
        assert phase(name) == moves
        assert (pool.has_copies, pool.only_mirrors) == (True, name == "mirror")
        assert all(server.has_copies for server in settled.servers.values())
    assert phase("settle") == {("a", None), ("c", "b"), ("c", "a"), ("a", "b")}
    assert settled.servers[0] is servers[0]
    left = settled.settle(Config.model_validate({"pools": [new]}), (0, 2), (0,))
    assert left == [servers[1]]
    assert (pool.has_copies, servers[0].has_copies) == (False, False)
    os.close(segment.fd)


def test_routes_are_those_of_all_and_those_of_each_pool_alone():
    config = Config.model_validate(
        {
            "pools": [
                {"name": "rest", "servers": ["a"]},
                {"name": "users", "servers": ["b", "c"], "prefixes": ["u:", "\u00e9"], "strip_prefix": True},
                {"name": "own", "servers": ["d"], "listen": ["127.0.0.1:1"]},
            ]
        }
    )
    segment = Segment.create(1, 4, 5)
    settled = Topology(segment, 0, Turn(), Memory(1 << 20))
    assert settled.settle(config, (0, 1, 2, 3), (4, 0, 2)) == []
    found = {
        name: [(route.prefix, route.pool.name, route.strip) for route in routes]
        for name, routes in settled.routes(config).items()
    }
    assert found == {
        "": [(b"", "rest", False), (b"u:", "users", True), ("\u00e9".encode(), "users", True)],
        "rest": [(b"", "rest", False)],
        "users": [(b"", "users", False)],
        "own": [(b"", "own", False)],
    }
