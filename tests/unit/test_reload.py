"""What a new configuration changes, in words."""

from typing import Any

import pytest

from memagent import reload
from memagent.reload import Plan
from memagent.rows import settings_of
from memagent.settings import Config, PoolConfig, ServerConfig, Table

NOW = {
    "workers": 2,
    "pools": [{"name": "main", "servers": [{"address": "a:1", "name": "one"}, "b:2"], "backups": ["c:3"]}],
}


def plan(now: Config, new: Config) -> Plan:
    """Of a proxy with room for 16 workers."""
    return reload.plan(now, new, 16)


def changed(**given: Any) -> Config:
    return Config.model_validate({**NOW, **given})


def pool(**given: Any) -> Config:
    return changed(pools=[{**NOW["pools"][0], **given}])  # type: ignore[index, dict-item]


def test_nothing():
    made = plan(changed(), changed())
    assert (made.changes, made.waiting) == ((), ())
    assert made.config == changed()


def test_values_in_the_words_of_a_file():
    new = pool(fallback="never", request_timeout_ms=2500)
    new = new.model_copy(update={"max_item_bytes": 2 * 1024 * 1024, "verbose": True})
    assert set(plan(changed(), new).changes) == {
        "max_item_bytes: 1MiB becomes 2MiB",
        "verbose: false becomes true",
        'pool "main": fallback: always becomes never',
        'pool "main": request_timeout_ms: 1s becomes 2500ms',
    }
    assert plan(changed(), new).config == new


def test_servers():
    new = pool(servers=[{"address": "z:9", "name": "one", "weight": 3}, "d:4"], backups=["b:2"])
    assert set(plan(changed(), new).changes) == {
        'pool "main": servers: one a:1 becomes one z:9 weight 3',
        'pool "main": servers: d:4 comes',
        'pool "main": servers: b:2 goes',
        'pool "main": backups: b:2 comes',
        'pool "main": backups: c:3 goes',
    }


def test_another_pool():
    new = changed(pools=[{"name": "users", "servers": ["a:1"]}])
    assert set(plan(changed(), new).changes) == {
        'pool "main": 3 servers goes',
        'pool "users": 1 server comes',
    }


def test_what_waits_for_the_next_start_stays_as_it_is():
    new = changed(user="nobody", otel_endpoint="http://a", drain_ms=5)
    made = plan(changed(), new)
    assert made.changes == ("drain_ms: 10s becomes 5ms",)
    assert made.waiting == ("user", "otel_endpoint")
    assert made.config == changed(drain_ms=5)


@pytest.mark.parametrize("model", [PoolConfig, ServerConfig])
def test_of_a_pool_nothing_waits(model: type[Table]):
    assert not any(row.at_start for row in settings_of(model).values())


def two(*, first: dict[str, Any] | None = None, second: dict[str, Any] | None = None) -> Config:
    pools = [{**NOW["pools"][0], **(first or {})}]  # type: ignore[index, dict-item]
    if second is not None:
        pools.append({"name": "users", "servers": ["u:1"], **second})
    return changed(pools=pools)


def test_a_pool_that_comes_with_prefixes_is_in_force_at_once():
    new = two(second={"prefixes": ["u:"]})
    made = plan(changed(), new)
    assert made.changes == ('pool "users": 1 server comes',)
    assert (made.config, made.waiting) == (new, ())
    back = plan(new, two(second={"prefixes": ["u:", "v:"], "strip_prefix": True}))
    assert back.changes == (
        'pool "users": prefixes: v: comes',
        'pool "users": strip_prefix: false becomes true',
    )


def test_addresses_of_all_and_of_a_pool():
    now = two(second={"prefixes": ["u:"], "listen": ["127.0.0.1:4"]})
    new = two(second={"prefixes": ["u:"], "listen": ["127.0.0.1:5"]}).model_copy(
        update={"listen": changed(listen=["unix:/s"]).listen}
    )
    assert plan(now, new) == Plan(
        new,
        (
            "listen: 127.0.0.1:11211 goes",
            "listen: unix:/s comes",
            'pool "users": listen: 127.0.0.1:4 goes',
            'pool "users": listen: 127.0.0.1:5 comes',
        ),
        (),
    )


def test_as_many_workers_as_there_is_room_for():
    made = plan(changed(), changed(workers=16))
    assert (made.changes, made.waiting) == (("workers: 2 becomes 16",), ())
    past = plan(changed(), changed(workers=17, drain_ms=5))
    assert (past.changes, past.waiting) == (("drain_ms: 10s becomes 5ms",), ("workers",))
    assert past.config == changed(drain_ms=5)
