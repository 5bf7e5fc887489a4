"""How full servers say they are, whatever they say."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from memagent.admin.page.fill import Fill, ask_all, ask_one
from memagent.snapshot import ServerSnapshot
from tests.support.control_stand_in import SERVER
from tests.support.memcached import Memcached
from tests.support.ports import free_port
from tests.support.scripted import Scripted


def server(number: int, address: str, **more: Any) -> ServerSnapshot:
    return replace(SERVER, number=number, address=address, **more)


def test_every_server_that_answers(memcached_factory: Callable[..., Memcached]):
    memcached = memcached_factory()
    memcached.set(b"key", b"value")
    warming, down = memcached_factory(), memcached_factory()
    servers = [
        server(0, memcached.address),
        server(1, f"127.0.0.1:{free_port()}"),
        server(7, warming.address, state="warming"),
        server(8, down.address, state="down"),
        server(9, memcached.address, pool="other"),
    ]
    found = asyncio.run(ask_all(servers))
    assert found.keys() == {memcached.address, warming.address}
    fill = found[memcached.address]
    assert fill.items == 1
    assert 0 < (fill.used_bytes or 0) < (fill.limit_bytes or 0)
    assert fill.version


def test_what_makes_no_sense_is_not_known():
    stats = b"STAT curr_items many\r\nSTAT bytes -1\r\nSTAT limit_maxbytes 12\r\nSTAT evictions\r\nEND\r\n"
    with Scripted(lambda _: stats) as lying:
        assert ask_one(str(lying.address)) == Fill(None, None, 12, None, None)
    with Scripted(lambda _: b"STAT curr_items " + b"9" * 5000 + b"\r\nEND\r\n") as odd:
        assert ask_one(str(odd.address)) == Fill()
    with Scripted(lambda _: b"ERROR\r\n") as refusing:
        assert ask_one(str(refusing.address)) is None
    assert ask_one("no address:0") is None
