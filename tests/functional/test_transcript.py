"""What people saw when they put magent before memcached, and what they see now: two transcripts, its flags.

    set key1..key5 with 11, 222, 3333, 44444, 555555
    on the first server: key2, key4      on the second: key1, key3, key5      on the backup: all five
    stop the second, get through the proxy:      all five, from the backup
    start it again:                              all five at once, and it is filled within seconds

and three servers before two backups with SNSGOU1 to SNSGOU6: two keys on each server, three on each backup.
"""

import time
from collections.abc import Callable, Sequence

import pytest

from tests.functional.duo import another_second
from tests.support.memcached import Memcached, Version
from tests.support.ports import free_port
from tests.support.proxy import Proxy
from tests.support.wait import wait_until
from tests.support.wire import Wire

Start = Callable[..., Memcached]

KEYS = {b"key%d" % n: (b"%d" % n) * (n + 1) for n in range(1, 6)}
FILLED_S = 10.0
"""Within seconds; probes and the re-warm's own start are in it."""


def flags(port: int, servers: Sequence[Memcached], backups: Sequence[Memcached]) -> list[str]:
    words = ["-D", "-l", "127.0.0.1", "-p", str(port), "-n", "51200"]
    for server in servers:
        words += ["-s", server.address]
    for backup in backups:
        words += ["-b", backup.address]
    return words


def set_all(wire: Wire, items: dict[bytes, bytes]) -> None:
    for key, value in items.items():
        wire.expect(b"set %b 0 0 %d\r\n%b\r\n" % (key, len(value), value), b"STORED\r\n")


def get_all(wire: Wire, items: dict[bytes, bytes]) -> None:
    """Each on its own, then all in one request."""
    lines = [b"VALUE %b 0 %d\r\n%b\r\n" % (key, len(value), value) for key, value in items.items()]
    for key, line in zip(items, lines, strict=True):
        wire.expect(b"get " + key + b"\r\n", line + b"END\r\n")
    wire.expect(b"get " + b" ".join(items) + b"\r\n", b"".join(lines) + b"END\r\n")


def held(server: Memcached, items: dict[bytes, bytes]) -> list[bytes]:
    """What of it a server has, each with its right value."""
    found = {key: server.get(key) for key in items}
    assert all(value in (None, items[key]) for key, value in found.items()), found
    return [key for key, value in found.items() if value is not None]


@pytest.mark.parametrize("version", ["old", "new"])
def test_the_flaw_is_gone(
    memcached_factory: Start, proxy_factory: Callable[..., Proxy], version: Version
) -> None:
    server51, server52, backup68 = (memcached_factory(version) for _ in range(3))
    started = time.time()
    port = free_port()
    proxy = proxy_factory(flags=flags(port, [server51, server52], [backup68]), port=port)
    of52 = [b"key1", b"key3", b"key5"]
    with proxy.connect() as wire:
        set_all(wire, KEYS)
        wait_until(lambda: held(backup68, KEYS) == list(KEYS), what="all five on the backup")
        assert held(server51, KEYS) == [b"key2", b"key4"]
        assert held(server52, KEYS) == of52

        server52.kill()
        get_all(wire, KEYS)

        another_second(started)
        server52.restart()
        get_all(wire, KEYS)
        wait_until(lambda: held(server52, KEYS) == of52, FILLED_S, "server 52 to be filled")
        get_all(wire, KEYS)

        # and the backup is not needed any more
        wait_until(lambda: proxy.stats("servers")[f"main:{server52.address}:state"] == "0", FILLED_S, "52 up")
        backup68.kill()
        get_all(wire, KEYS)
        assert held(server51, KEYS) == [b"key2", b"key4"]


def test_three_servers_and_two_backups(memcached_factory: Start, proxy_factory: Callable[..., Proxy]) -> None:
    servers = [memcached_factory() for _ in range(3)]
    backups = [memcached_factory() for _ in range(2)]
    started = time.time()
    port = free_port()
    proxy = proxy_factory(flags=flags(port, servers, backups), port=port)
    items = {b"SNSGOU%d" % n: b"value%d" % n for n in range(1, 7)}
    with proxy.connect() as wire:
        set_all(wire, items)
        wait_until(lambda: sum(len(held(each, items)) for each in backups) == 6, what="six copies")
        assert [len(held(each, items)) for each in servers] == [2, 2, 2]
        assert [len(held(each, items)) for each in backups] == [3, 3]
        for down in [*servers, *backups]:
            down.kill()
            get_all(wire, items)
            another_second(started)
            down.restart()
            get_all(wire, items)
            wait_until(
                lambda: all(
                    value == "0" for name, value in proxy.stats("servers").items() if name.endswith(":state")
                ),
                FILLED_S,
                "everybody up again",
            )
            wait_until(
                lambda: [len(held(each, items)) for each in servers + backups] == [2, 2, 2, 3, 3],
                FILLED_S,
                "everybody to be filled",
            )
