"""A key set or deleted, asked of the proxy as a client does."""

import asyncio
from dataclasses import replace

import pytest

from memagent.admin import writing
from memagent.admin.requests import InvalidError, RefusedError
from memagent.admin.writing import Change, KeyWriter
from memagent.settings import Config
from tests.support.ports import free_port
from tests.support.scripted import Scripted
from tests.support.snapshots import config_of, snapshot_of


def write(change: Change, listen: str, config: Config | None = None) -> str:
    config = config or config_of(servers=["10.0.0.1:1"])
    snapshot = replace(snapshot_of(config), listen=(listen,))
    return asyncio.run(KeyWriter(lambda: config, lambda: snapshot).write(change))


def test_as_a_client_asks():
    replies = {b"set": b"", b"a v": b"STORED\r\n", b"del": b"DELETED\r\n"}

    def answer(line: bytes) -> bytes:
        return replies[line[:3]]

    with Scripted(answer) as proxy:
        where = f"0.0.0.0:{proxy.address.port}"
        assert write(Change(b"k\xff", b"a value", 7, 60), where) == "STORED"
        assert write(Change(b"k\xff"), where) == "DELETED"
        assert proxy.asked == [b"set k\xff 7 60 7", b"a value", b"delete k\xff"]


def test_seconds_to_live_stay_seconds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writing.time, "time", lambda: 1_800_000_000.9)
    with Scripted(lambda line: b"STORED\r\n" if line == b"v" else b"") as proxy:
        for to_live_s in (-1, 0, 2_592_000, 2_592_001, 2**31 - 1):
            write(Change(b"k", b"v", expiry_s=to_live_s), str(proxy.address))
        said = [int(line.split()[3]) for line in proxy.asked if line != b"v"]
    assert said == [-1, 0, 2_592_000, 1_802_592_001, 2**31 - 1]


@pytest.mark.parametrize("key", [b"", b"a b", b"k" * 251, b"a\r\nflush_all"])
def test_what_is_no_key_reaches_nobody(key: bytes):
    with pytest.raises(InvalidError):
        write(Change(key), f"127.0.0.1:{free_port()}")


def test_what_is_refused(monkeypatch: pytest.MonkeyPatch):
    refusal = "the proxy answers SERVER_ERROR no copy"
    with (
        Scripted(lambda _: b"SERVER_ERROR no copy\r\n") as proxy,
        pytest.raises(RefusedError, match=refusal),
    ):
        write(Change(b"k"), str(proxy.address))
    with pytest.raises(RefusedError, match="cannot connect"):
        write(Change(b"k"), f"127.0.0.1:{free_port()}")
    monkeypatch.setattr(writing, "_TIMEOUT_S", 0.05)
    with Scripted(lambda _: b"") as silent, pytest.raises(RefusedError, match="in time"):
        write(Change(b"k"), str(silent.address))


def test_a_pools_own_address():
    with Scripted(lambda _: b"NOT_FOUND\r\n") as proxy:
        pools = [
            {"name": "main", "servers": ["10.0.0.1:1"]},
            {"name": "own", "servers": ["10.0.0.2:1"], "listen": [str(proxy.address)]},
        ]
        config = Config.model_validate({"workers": 1, "pools": pools})
        assert write(Change(b"k", pool="own"), f"127.0.0.1:{free_port()}", config) == "NOT_FOUND"
        with pytest.raises(InvalidError, match="no pool"):
            write(Change(b"k", pool="nowhere"), f"127.0.0.1:{free_port()}", config)


PREFIXED = {
    "main": {"servers": ["10.0.0.1:1"]},
    "users": {"servers": ["10.0.0.2:1"], "prefixes": ["u:", "user:"], "strip_prefix": True},
    "carts": {"servers": ["10.0.0.3:1"], "prefixes": ["c:"]},
    "deep": {"servers": ["10.0.0.4:1"], "prefixes": ["u:x"]},
}


def prefixed() -> Config:
    pools = [{"name": name, **pool} for name, pool in PREFIXED.items()]
    return Config.model_validate({"workers": 1, "pools": pools})


@pytest.mark.parametrize(
    ("pool", "key", "asked"),
    [
        (None, b"u:1", b"u:1"),
        ("users", b"1", b"u:1"),
        ("users", b"u:1", b"u:u:1"),
        ("users", b"x1", b"user:x1"),
        ("carts", b"c:1", b"c:1"),
        ("main", b"1", b"1"),
    ],
)
def test_a_pool_without_an_address_is_reached_by_the_clients_key(pool: str | None, key: bytes, asked: bytes):
    with Scripted(lambda _: b"DELETED\r\n") as proxy:
        assert write(Change(key, pool=pool), str(proxy.address), prefixed()) == "DELETED"
        assert proxy.asked == [b"delete " + asked]


@pytest.mark.parametrize(
    ("pool", "key"), [("main", b"c:1"), ("carts", b"1"), ("carts", b"u:1"), ("users", b"k" * 249)]
)
def test_no_other_pool_is_written_to(pool: str, key: bytes):
    with pytest.raises(InvalidError, match="no client reaches"):
        write(Change(key, pool=pool), f"127.0.0.1:{free_port()}", prefixed())
