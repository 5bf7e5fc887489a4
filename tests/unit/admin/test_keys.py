"""Where one key is, for the control API."""

import asyncio
import base64
import threading
from collections.abc import Callable
from typing import Any

import pytest

from memagent.admin import keys
from memagent.admin.keys import KeyLookup
from memagent.admin.requests import InvalidError, RefusedError
from memagent.inspection.keys import shown
from memagent.settings import Config
from tests.support.memcached import Memcached
from tests.support.ports import free_port
from tests.support.snapshots import config_of, snapshot_of


class Case:
    """A pool whose servers nobody answers for."""

    def __init__(self) -> None:
        config = config_of(servers=[f"127.0.0.1:{free_port()}" for _ in range(2)])
        self.lookup = KeyLookup(lambda: config, lambda: snapshot_of(config, {0: "warming", 1: "warming"}))

    def ask(self, key: bytes) -> dict[str, Any]:
        return asyncio.run(self.lookup.look_up(key))


@pytest.mark.parametrize("key", [b"a", b"\xff\xfe", "schlüssel\u202e".encode(), b"k" * 250])
def test_any_key(key: bytes):
    found = Case().ask(key)
    assert base64.b64decode(found["key_base64"]) == key
    assert found["key"] == found["stored_key"] == shown(key)
    assert found["owner"]["state"] == "warming"
    assert "cannot connect" in found["owner"]["problem"]


@pytest.mark.parametrize("key", [b"", b"a b", b"\0", b"k" * 251, b"\xff\n"])
def test_no_key(key: bytes):
    with pytest.raises(InvalidError, match="key") as caught:
        Case().ask(key)
    caught.value.error.encode()


def test_a_server_that_hangs_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch):
    go_on = threading.Event()
    monkeypatch.setattr(keys, "_FOR_ALL_S", 0.01)
    monkeypatch.setattr(keys, "explain", lambda *_: go_on.wait())
    case = Case()

    async def whole() -> None:
        for _ in range(4):
            with pytest.raises(RefusedError, match="did not answer"):
                await case.lookup.look_up(b"a")
        with pytest.raises(RefusedError, match="looked up already"):
            await case.lookup.look_up(b"a")

    asyncio.run(whole())
    go_on.set()
    for thread in threading.enumerate():
        if thread.name == "look up a key":
            thread.join(10)
    assert case.lookup._free.acquire(blocking=False)


def test_the_pool_that_takes_the_key_or_is_named():
    pools = [
        {"name": "a", "servers": [f"127.0.0.1:{free_port()}"], "prefixes": ["a:"], "strip_prefix": True},
        {"name": "own", "servers": [f"127.0.0.1:{free_port()}"], "listen": ["5"]},
    ]
    config = Config.model_validate({"workers": 1, "pools": pools})
    lookup = KeyLookup(lambda: config, lambda: snapshot_of(config))
    found = asyncio.run(lookup.look_up(b"a:k"))
    assert (found["pool"], found["key"], found["stored_key"], found["prefix"]) == ("a", "a:k", "k", "a:")
    assert asyncio.run(lookup.look_up(b"a:k", "own"))["stored_key"] == "a:k"
    for key, pool, reachable in ((b"a:k", None, True), (b"a:k", "own", True), (b"k", "a", True)):
        assert asyncio.run(lookup.look_up(key, pool))["reachable"] is reachable
    assert asyncio.run(lookup.look_up(b"k" * 250, "a"))["reachable"] is False
    with pytest.raises(InvalidError, match="no pool takes the key"):
        asyncio.run(lookup.look_up(b"b\xff"))
    with pytest.raises(InvalidError, match='no pool "c"'):
        asyncio.run(lookup.look_up(b"b", "c"))


def test_a_value_is_shown_where_it_is_asked_for(memcached_factory: Callable[..., Memcached]):
    server, backup = memcached_factory(), memcached_factory()
    config = config_of(servers=[server.address], backups=[backup.address])
    lookup = KeyLookup(lambda: config, lambda: snapshot_of(config))
    server.set(b"key", b"\x80\x04" + b"x" * 70_000)
    found = asyncio.run(lookup.look_up(b"key", with_value=True))
    value = found["owner"]["value"]
    assert base64.b64decode(value["base64"]) == b"\x80\x04" + b"x" * (65_536 - 2)
    assert (value["is_whole"], value["kind"]) == (False, "Python pickle, protocol 4")
    assert found["copy"]["value"] is None
    assert "value" not in asyncio.run(lookup.look_up(b"key"))["owner"]
