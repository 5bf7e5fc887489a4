"""What a new configuration changes, in words."""

from typing import Any

import pytest

from memagent.reload import plan
from memagent.rows import settings_of
from memagent.settings import Config, PoolConfig, ServerConfig, Table

NOW = {
    "workers": 2,
    "pools": [{"name": "main", "servers": [{"address": "a:1", "name": "one"}, "b:2"], "backups": ["c:3"]}],
}


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
    new = changed(workers=3, listen=["127.0.0.1:5"], user="nobody", otel_endpoint="http://a", drain_ms=5)
    made = plan(changed(), new)
    assert made.changes == ("drain_ms: 10s becomes 5ms",)
    assert made.waiting == ("listen", "workers", "user", "otel_endpoint")
    assert made.config == changed(drain_ms=5)


@pytest.mark.parametrize("model", [PoolConfig, ServerConfig])
def test_only_settings_of_the_whole_proxy_wait(model: type[Table]):
    assert [name for name, row in settings_of(model).items() if row.at_start] == []
