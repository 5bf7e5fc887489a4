"""Addresses on both sides: behaviour.md section 6."""

import socket
from collections.abc import Callable
from pathlib import Path

from tests.functional.tools import item, storage
from tests.support.memcached import Memcached
from tests.support.ports import free_port
from tests.support.proxy import Proxy
from tests.support.wire import Address, Wire

StartMemcached = Callable[..., Memcached]
StartProxy = Callable[..., Proxy]


def works(address: Address) -> None:
    with Wire(address) as wire:
        wire.expect(storage(b"set", b"k", b"v") + b"get k\r\n", b"STORED\r\n" + item(b"k", b"v") + b"END\r\n")
        wire.expect(b"flush_all\r\n", b"OK\r\n")
        wire.expect(b"get k\r\n", b"END\r\n")


def test_unix_sockets_on_both_sides(
    memcached_factory: StartMemcached, proxy_factory: StartProxy, tmp_path: Path
) -> None:
    server = memcached_factory(unix=True)
    path = str(tmp_path / "magent.sock")
    proxy = proxy_factory([server], unix=path, workers=2)
    works(path)
    assert proxy.stop() == 0
    assert not Path(path).exists()


def test_a_unix_socket_left_by_a_killed_proxy_is_replaced(
    memcached_factory: StartMemcached, proxy_factory: StartProxy, tmp_path: Path
) -> None:
    server = memcached_factory()
    path = str(tmp_path / "magent.sock")
    proxy_factory([server], unix=path).kill()
    assert Path(path).exists()
    proxy_factory([server], unix=path)
    works(path)


def test_ipv6_on_both_sides(memcached_factory: StartMemcached, proxy_factory: StartProxy) -> None:
    """`[v6]:port`."""
    server = memcached_factory(args=["-l", "::1"])
    port = free_port("::1")
    listen = [f"[::1]:{port}", f"127.0.0.1:{port}"]
    proxy = proxy_factory([f"[::1]:{server.port}"], port=port, settings={"listen": listen})
    works(("::1", port))
    works(proxy.endpoint)
    assert proxy.stats("servers")[f"main:[::1]:{server.port}:address"] == f"[::1]:{server.port}"


def test_names_are_resolved(memcached_factory: StartMemcached, proxy_factory: StartProxy) -> None:
    server = memcached_factory()
    proxy = proxy_factory([f"localhost:{server.port}"])
    works(proxy.endpoint)


def test_addresses_of_a_name_are_tried_in_turn(
    memcached_factory: StartMemcached, proxy_factory: StartProxy
) -> None:
    """localhost is ::1 and 127.0.0.1 on most machines; the server listens on one of them only."""
    families = {found[0] for found in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    for host, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
        if family in families:
            server = memcached_factory(args=["-l", host])
            # the last -l wins; the fixture itself looks at 127.0.0.1 only where that is it
            works(proxy_factory([f"localhost:{server.port}"]).endpoint)


def test_a_name_that_nobody_knows_is_a_server_that_is_down(
    memcached_factory: StartMemcached, proxy_factory: StartProxy
) -> None:
    """Section 6 with section 2: others go on; no request waits for the resolver."""
    server = memcached_factory()
    proxy = proxy_factory([server, "no-such-host.invalid:11211"])
    with proxy.connect() as wire:
        replies = {wire.ask(storage(b"set", b"k%d" % number, b"v")) for number in range(40)}
    assert b"STORED\r\n" in replies
    assert any(reply.startswith(b"SERVER_ERROR ") for reply in replies)


def test_several_listen_addresses_and_workers(
    memcached_factory: StartMemcached, proxy_factory: StartProxy, tmp_path: Path
) -> None:
    server = memcached_factory()
    path = str(tmp_path / "magent.sock")
    ports = [free_port(), free_port()]
    listen = [f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}", f"unix:{path}"]
    proxy_factory([server], port=ports[0], workers=2, settings={"listen": listen})
    for address in (("127.0.0.1", ports[0]), ("127.0.0.1", ports[1]), path):
        for _ in range(6):
            works(address)
