"""What is in force while keys of a pool move, and which reloads may come meanwhile."""

from typing import Any

import pytest

from memagent.errors import ConfigError
from memagent.migration import begins, coming, in_phase, leaving, settled, will_move, with_migrations
from memagent.settings import Config


def config(*servers: Any, **pool: Any) -> Config:
    main = {"name": "main", "servers": servers, "on_change": "migrate", **pool}
    return Config.model_validate({"workers": 1, "pools": [main]})


NOW, NEW = config("a", "b"), config("a", "c", "d")


def test_the_new_servers_come_first_and_those_that_leave_behind_them() -> None:
    joint = with_migrations(NOW, NEW)
    [pool] = joint.pools
    assert [server.name[0] for server in pool.servers] == ["a", "c", "d", "b"]
    assert pool.migration is not None
    assert (pool.migration.phase, pool.migration.n_settled) == ("mirror", 3)
    assert pool.migration.former == NOW.pools[0]
    assert (coming(pool), leaving(pool)) == (("c:11211", "d:11211"), ("b:11211",))
    assert list(begins(NOW, joint)) == [pool]
    assert list(begins(joint, joint)) == []
    assert settled(joint) == NEW
    assert Config.model_validate(joint.model_dump(mode="json")) == joint


def test_phases() -> None:
    joint = in_phase(with_migrations(NOW, NEW), "main", "copy")
    assert joint.pools[0].migration is not None
    assert joint.pools[0].migration.phase == "copy"
    assert in_phase(joint, "another", "settle") == joint
    assert in_phase(NEW, "main", "copy") == NEW


@pytest.mark.parametrize(
    ("now", "new"),
    [
        (NOW, config("a", "b", request_timeout_ms=7)),
        (NOW, config("b", "a")),
        (NOW, config("a", "c", on_change="reroute")),
        (config("a", "b", on_change="reroute", copies=2), NEW),
        (NOW, config("a", {"address": "x", "name": "b"})),
        (config("a", "b", backups=["x"], on_change="reroute"), config("a", "c")),
    ],
)
def test_where_no_key_is_copied(now: Config, new: Config) -> None:
    assert with_migrations(now, new) == new
    assert not will_move(now.pools[0], new.pools[0])


@pytest.mark.parametrize(
    "new",
    [
        config("a"),
        config("a", {"address": "b", "weight": 2}),
        config("a", "b", key_hash="xxh3"),
        config("a", "b", distribution="jump"),
        config("a", "b", hash_tag="{}"),
    ],
)
def test_where_keys_are_copied(new: Config) -> None:
    assert will_move(NOW.pools[0], new.pools[0])
    assert with_migrations(NOW, new).pools[0].migration is not None


def test_the_order_counts_where_the_distribution_goes_by_it() -> None:
    one, other = (config(*servers, distribution="modula", key_hash="djb") for servers in ("ab", "ba"))
    assert will_move(one.pools[0], other.pools[0])
    named = [{"address": name, "name": name.upper()} for name in "ab"]
    one, other = (config(*each, distribution="modula", key_hash="djb") for each in (named, named[::-1]))
    assert not will_move(one.pools[0], other.pools[0])


def test_a_new_pool_moves_nothing() -> None:
    new = Config.model_validate(
        {"pools": [{"name": "other", "servers": ["x"], "on_change": "migrate"}], "workers": 1}
    )
    assert with_migrations(NOW, new) == new


def test_meanwhile_the_rings_stay_or_go_back() -> None:
    joint = in_phase(with_migrations(NOW, NEW), "main", "copy")
    other = config("a", "c", "d", failure_limit=9)
    again = with_migrations(joint, other)
    assert again.pools[0].migration == joint.pools[0].migration
    assert [server.name[0] for server in again.pools[0].servers] == ["a", "c", "d", "b"]
    assert (settled(again), again.pools[0].failure_limit) == (other, 9)
    assert with_migrations(joint, NOW) == NOW
    assert with_migrations(joint, config("a", "b", on_change="reroute")).pools[0].migration is None
    with pytest.raises(ConfigError, match="keys are still moving") as refused:
        with_migrations(joint, config("a", "c"))
    assert refused.value.hint
    assert "magent migration --abort" in refused.value.hint
    for fixed in ({"on_change": "reroute"}, {"connections_per_server": 2}):
        with pytest.raises(ConfigError, match="stay as they are"):
            with_migrations(joint, config("a", "c", "d", **fixed))


def test_a_server_may_not_be_two() -> None:
    with pytest.raises(ConfigError, match='is "a:11211" now and would be "new"') as refused:
        with_migrations(NOW, config({"address": "a", "name": "new"}, "b"))
    assert refused.value.hint == "change names in a reload of their own, or set on_change: reroute"


def test_not_with_copies() -> None:
    for pool in ({"copies": 2}, {"backups": ["x"]}):
        with pytest.raises(ValueError, match="pools without copies"):
            config("a", "b", **pool)
