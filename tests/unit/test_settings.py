"""The table of settings: its defaults, and that what exists is valid."""

import os
from typing import Any

import pytest
from pydantic import ValidationError

from memagent.settings import (
    Config,
    ListenAddress,
    PoolConfig,
    ServerConfig,
)


def pool(**settings: Any) -> PoolConfig:
    return PoolConfig.model_validate({"name": "main", "servers": ["10.0.0.1", "10.0.0.2"], **settings})


def config(**settings: Any) -> Config:
    return Config.model_validate({"pools": [pool()], **settings})


def test_defaults_are_those_that_the_project_promises():
    whole = config()
    assert whole.max_connections == 4096
    assert whole.max_item_bytes == 2**20
    assert (whole.client_pause_bytes, whole.client_close_bytes) == (16 * 2**20, 64 * 2**20)
    assert (whole.server_queue_bytes, whole.server_queue_requests) == (64 * 2**20, 65536)
    assert whole.worker_buffer_bytes == 512 * 2**20
    assert (whole.drain_ms, whole.dns_refresh_ms) == (10_000, 30_000)
    assert (whole.user, whole.group, whole.log_file) == (None, None, None)
    assert (whole.daemon, whole.verbose) == (False, False)
    assert whole.workers == len(os.sched_getaffinity(0))
    assert whole.listen == (ListenAddress(host="127.0.0.1", port=11211),)
    main = whole.pools[0]
    assert (main.distribution, main.key_hash, main.hash_tag, main.copies) == ("ketama", "md5", "", 1)
    assert (main.connect_timeout_ms, main.request_timeout_ms, main.failure_limit) == (250, 1000, 3)
    assert (main.probe_min_ms, main.probe_max_ms) == (100, 5000)
    assert (main.connections_per_server, main.get_when_down, main.multiget_deadline_ms) == (1, "miss", 0)
    assert (main.fallback, main.acknowledge, main.repair_ttl_ms) == ("always", "owner", 60_000)
    assert (main.journal_keys, main.journal_bytes) == (1_000_000, 64 * 2**20)
    assert (main.rewarm, main.rewarm_keys_per_s, main.rewarm_bytes_per_s) == (True, 20_000, 32 * 2**20)
    assert (main.warm_for_at_most_ms, whole.control_socket) == (3_600_000, None)


def test_a_pool_has_copies_by_backups_or_by_asking():
    assert not pool().has_copies
    assert pool(copies=2).has_copies
    assert pool(backups=["b"]).has_copies


def test_a_server_is_named_by_its_address_or_by_the_user():
    plain = ServerConfig.model_validate("10.0.0.1")
    assert (plain.name, plain.named, plain.address) == ("10.0.0.1:11211", False, "10.0.0.1")
    assert (plain.host, plain.port, plain.path, plain.weight) == ("10.0.0.1", 11211, None, 1)
    named = ServerConfig.model_validate({"address": "[::1]:5", "name": "a", "weight": 3})
    assert (named.name, named.named, named.host, named.port, named.weight) == ("a", True, "::1", 5, 3)
    assert ServerConfig.model_validate("[::1]").name == "[::1]:11211"
    unix = ServerConfig.model_validate("unix:/s")
    assert (unix.name, unix.path, unix.host, unix.port) == ("unix:/s", "/s", "/s", 0)


def test_a_name_equal_to_the_address_is_still_given_by_the_user():
    assert ServerConfig.model_validate({"address": "10.0.0.1", "name": "10.0.0.1:11211"}).named


def test_json_and_back():
    whole = config(
        listen=["0.0.0.0:1", "unix:/s", "[::]:2"],
        pools=[pool(backups=["unix:/b", {"address": "h:1", "name": "n"}], hash_tag="{}", probe_min_ms="1s")],
        workers=3,
        user="nobody",
    )
    assert Config.model_validate_json(whole.model_dump_json()) == whole


def test_nothing_changes_afterwards():
    with pytest.raises(ValidationError):
        config().workers = 5  # type: ignore[misc]


def test_an_unknown_setting_is_refused():
    with pytest.raises(ValidationError, match="max_conections"):
        config(max_conections=5)


def test_the_key_hash_follows_the_distribution_unless_given():
    assert pool(distribution="consistent").key_hash == "one_at_a_time"
    assert pool(distribution="consistent", key_hash="md5").key_hash == "md5"
    assert pool(distribution="modula").key_hash == "md5"


def test_units_are_read_wherever_a_setting_is_given():
    assert pool(connect_timeout_ms="2s").connect_timeout_ms == 2000
    assert config(max_item_bytes="2MiB").max_item_bytes == 2 * 2**20


POOL_CONFLICTS: list[tuple[dict[str, Any], str]] = [
    ({"servers": []}, "at least one server"),
    ({"servers": ["10.0.0.1", "10.0.0.1:11211"]}, r'"10.0.0.1:11211" is already servers\[0\]'),
    ({"backups": ["a", "b", "a"]}, r"already backups\[0\]"),
    (
        {"servers": [{"address": "a", "name": "n"}, {"address": "b", "name": "n"}]},
        r'"n" is already taken by servers\[0\]',
    ),
    ({"servers": ["b:11211", {"address": "c", "name": "b:11211"}]}, "already taken"),
    (
        {"servers": [{"address": "a", "name": "n"}], "backups": [{"address": "b", "name": "n"}]},
        "already taken",
    ),
    ({"copies": 2, "backups": ["b"]}, "the backups already hold the second copy"),
    ({"copies": 2, "servers": ["a"]}, "at least two servers"),
    ({"distribution": "magent-ketama", "key_hash": "djb"}, "md5 only"),
    ({"probe_min_ms": 500, "probe_max_ms": 499}, r"probe_max_ms \(499ms\) must not be less"),
    ({"probe_min_ms": 5001}, r"probe_max_ms \(5s\) must not be less"),
    (
        {"distribution": "magent-ketama", "backups": [{"address": "a", "weight": 2}]},
        "magent-ketama knows no weights",
    ),
]


@pytest.mark.parametrize(("settings", "says"), POOL_CONFLICTS)
def test_rules_between_the_settings_of_a_pool(settings, says):
    with pytest.raises(ValidationError, match=says):
        pool(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"copies": 2},
        {"probe_min_ms": 500, "probe_max_ms": 500},
        # each the other's backup: another server for every key
        {"backups": ["10.0.0.2", "10.0.0.1"], "distribution": "modula"},
        *(
            {"distribution": name, "servers": [{"address": "a", "weight": 2}]}
            for name in ("ketama", "consistent", "modula", "jump", "rendezvous")
        ),
        {"hash_tag": "$$"},
    ],
)
def test_what_looks_odd_and_is_right(settings):
    pool(**settings)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"listen": []}, "at least one address is needed"),
        ({"listen": ["0.0.0.0:1", "[::]:1", "1"]}, r'"0.0.0.0:1" is already listen\[0\]'),
        ({"listen": ["unix:/s", "unix:/s"]}, "already"),
        ({"pools": []}, "there must be 1 to 256 of them, not 0"),
        ({"pools": [pool(name=f"p{i}", prefixes=[f"{i}:"]) for i in range(257)]}, "256 of them, not 257"),
        ({"pools": [pool(), pool(name="b")]}, '"main" takes the keys already that no prefix takes'),
        (
            {"pools": [pool(prefixes=["a", "b"]), pool(name="b", prefixes=["b"])]},
            '"b" is already a prefix of the pool "main"',
        ),
        ({"pools": [pool(listen=["1"])], "listen": ["2"]}, "no pool is reached there"),
        ({"pools": [pool(listen=["1", "1"])]}, r'already listen\[0\] of the pool "main"'),
        (
            {"pools": [pool(listen=["1"]), pool(name="b", listen=["1"])]},
            r'"0.0.0.0:1" is already listen\[0\] of the pool "main"',
        ),
        ({"pools": [pool(), pool(name="b", listen=["3"])], "listen": ["3"]}, r"already listen\[0\]"),
        ({"pools": [pool(listen=["127.0.0.1:3"])], "admin_listen": "127.0.0.1:3"}, r"already listen\[0\]"),
        ({"client_pause_bytes": "65MiB"}, "client_close_bytes"),
        (
            {"max_item_bytes": "100MiB"},
            r"client_close_bytes \(64MiB\) must not be less than max_item_bytes \(100MiB\)",
        ),
        ({"max_item_bytes": "2MiB", "server_queue_bytes": "1MiB"}, "server_queue_bytes"),
        ({"max_item_bytes": "2MiB", "worker_buffer_bytes": "1MiB"}, "worker_buffer_bytes"),
        ({"listen": ["127.0.0.1:80"], "admin_listen": "127.0.0.1:80"}, r"already listen\[0\]"),
        ({"admin_listen": "80"}, "can be reached from other machines: set admin_read_token"),
        ({"admin_listen": "[::]:80"}, "or listen on 127.0.0.1"),
        ({"admin_listen": "127.0.0.1"}, "the port is missing"),
        ({"admin_listen": "127.0.0.1:80", "admin_read_token": ""}, "1-4096 characters"),
    ],
)
def test_rules_between_the_settings_of_the_root(settings, says):
    with pytest.raises(ValidationError, match=says):
        config(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"admin_listen": "127.0.0.1:80"},
        {"admin_listen": "[::1]:80"},
        {"admin_listen": "unix:/run/admin.sock"},
        {"admin_listen": "80", "admin_read_token": "a"},
        {"admin_listen": "10.0.0.1:80", "admin_operator_token": "a"},
    ],
)
def test_where_the_control_api_may_be(settings):
    made = config(**settings)
    assert Config.model_validate(made.model_dump(mode="json")).admin_listen == settings["admin_listen"]


def test_all_broken_rules_are_named_at_once():
    with pytest.raises(ValidationError) as caught:
        pool(servers=["a", "a"], copies=2, backups=["b"], probe_min_ms=6000)
    text = str(caught.value)
    assert "already servers[0]" in text
    assert "second copy" in text
    assert "probe_max_ms" in text


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"prefixes": ["a", "b", "a"]}, r'"a" is already prefixes\[0\]'),
        ({"prefixes": ["a b"]}, "no key begins with it"),
        ({"prefixes": ["a\tb"]}, "no key begins with it"),
        ({"prefixes": ["a\x7f"]}, "no key begins with it"),
        ({"prefixes": ["x" * 250]}, "at most 249 bytes"),
        ({"prefixes": ["\u20ac" * 84]}, "at most 249 bytes"),
        ({"prefixes": ["\ud800"]}, "at most 249 bytes"),
        ({"strip_prefix": True}, "nothing to strip"),
        ({"strip_prefix": True, "prefixes": [""]}, "nothing to strip"),
    ],
)
def test_rules_of_prefixes(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        pool(**settings)


def test_what_a_pool_takes_and_where_it_is_reached():
    assert pool().takes == ("",)
    assert pool(prefixes=["a:", ""]).takes == ("a:", "")
    assert pool(listen=["127.0.0.1:1"]).takes == ()
    assert pool(listen=["127.0.0.1:1"], prefixes=["\u00e9:"]).takes == ("\u00e9:",)
    own = pool(name="own", listen=["127.0.0.1:1"])
    assert {name: [*map(str, found)] for name, found in config(pools=[pool(), own]).listens.items()} == {
        "": ["127.0.0.1:11211"],
        "own": ["127.0.0.1:1"],
    }
    # the default is not opened in vain, and it may be a pool's own
    alone = config(pools=[pool(listen=["127.0.0.1:11211"])])
    assert {name: [*map(str, found)] for name, found in alone.listens.items()} == {
        "main": ["127.0.0.1:11211"]
    }
