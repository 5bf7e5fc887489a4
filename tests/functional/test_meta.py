"""Meta requests through the proxy, from raw sockets and from a client library: behaviour.md section 2.

Most of what one request can be answered is in tests/protocol/golden/meta.txt. Here: what memcached 1.6.18 and
later ones do not have in common, long pipelines with q, and a library that speaks nothing but meta.
"""

import base64
from collections.abc import Iterator

import pytest
from meta_memcache import (
    CacheClient,
    Key,
    LeasePolicy,
    ServerAddress,
    SetMode,
    connection_pool_factory_builder,
)
from meta_memcache.connection.pool import ConnectionPool

from tests.functional.tools import Shop
from tests.support.memcached import Memcached

OLD, NEW = 0, 1  # places of servers in the shop

REQUESTS = [
    b"ms %b 3 E5 c\r\nxyz\r\n",
    b"ms %b 3 MA N30\r\nxyz\r\n",
    b"ms %b 3 MP N30 s q\r\nxyz\r\n",
    b"ms %b 3 s k\r\nxyz\r\n",
    b"md %b x\r\n",
    b"md %b x I T30 k\r\n",
    b"mg %b v s f E9 q\r\n",
    b"ma %b N0 J5 E77 c v\r\n",
    b"ms %b 3 z\r\nxyz\r\n",
    b"mg %b z v\r\n",
]


@pytest.mark.parametrize("where", [OLD, NEW], ids=["old", "new"])
def test_flags_that_only_newer_servers_know(shop: Shop, where: int) -> None:
    """Passed on: the server of the key does or refuses it, and the connection goes on."""
    key = shop.keys_of(where, 1, "flags")[0]
    with shop.servers[where].connect() as own, shop.proxy.connect() as wire:
        for request in REQUESTS:
            said = []
            for each in (own, wire):
                each.expect(b"ms %b 1 F3\r\n7\r\n" % key, b"HD\r\n")
                then = b"mg %b v f s t\r\n" % key
                said.append([each.ask(asked + b"mn\r\n", b"MN\r\n") for asked in (request % key, then)])
            assert said[0] == said[1], request


@pytest.mark.parametrize("barrier", [b"mn\r\n", b"mg none k v\r\n"])
def test_a_pipeline_of_quiet_requests(shop: Shop, direct: Memcached, barrier: bytes) -> None:
    """q hides what it hides at one memcached; O and k come back; what is not quiet is behind it all."""
    parts = []
    for i in range(600):
        key = b"pipe:%d" % (i % 200)
        parts += [
            b"mg %b v k O%d q\r\n" % (key, i),
            b"ms %b %d q O%d k\r\n%b\r\n" % (key, i % 7, i, b"1" * (i % 7)),
            b"ms %b 1 ME q O%d\r\n5\r\n" % (key, i),
            b"ma %b q O%d D3\r\n" % (key, i),
            b"md %b q O%d\r\n" % (key, i) if i % 3 else b"md none:%d q k\r\n" % i,
            b"mg %b s v q O%d\r\n" % (key, i),
        ]
    story = b"".join(parts) + barrier
    end = b"MN\r\n" if barrier == b"mn\r\n" else b"EN knone\r\n"
    transcripts = []
    for target in (direct, shop.proxy):
        with target.connect() as wire:
            wire.expect(b"flush_all\r\n", b"OK\r\n")
            wire.send(story)
            transcripts.append(wire.read_until(end))
    assert transcripts[0] == transcripts[1]
    assert transcripts[0].count(b"\r\n") > 1000


def test_classic_and_base64_requests_meet(shop: Shop) -> None:
    """A base64 key lives where its bytes live, whatever they are."""
    with shop.proxy.connect() as wire:
        for i in range(50):
            key = b"meet:%d" % i
            text = base64.b64encode(key)
            wire.expect(b"set %b 7 0 2\r\nab\r\n" % key, b"STORED\r\n")
            wire.expect(b"mg %b b f v\r\n" % text, b"VA 2 f7\r\nab\r\n")
            wire.expect(
                b"ms %b 2 b MA q\r\ncd\r\nget %b\r\n" % (text, key), b"VALUE %b 7 4\r\nabcd\r\nEND\r\n" % key
            )
            wire.expect(b"delete %b\r\nmg %b b k\r\n" % (key, text), b"DELETED\r\nEN k%b b\r\n" % text)


def test_no_key_can_make_a_reply_look_like_two(shop: Shop) -> None:
    """memcached forgets that a key it vivified was base64, and writes it into replies as it is."""
    evil = base64.b64encode(b"\r\nHD\r\nVA 1\r\nx\r\n")
    with shop.proxy.connect() as wire, shop.proxy.connect() as other:
        for _ in range(50):
            other.send(b"set mine 0 0 4\r\nmine\r\nget mine\r\n")
            wire.expect(b"mg %b b k N30 t O1\r\n" % evil, b"HD t30 O1 W k%b b\r\n" % evil)
            assert other.read_until(b"END\r\n") == b"STORED\r\nVALUE mine 0 4\r\nmine\r\nEND\r\n"
            wire.expect(
                b"me %b b\r\nmd %b b k\r\n" % (evil, evil), b"CLIENT_ERROR bad key\r\nHD k%b b\r\n" % evil
            )


@pytest.fixture
def client(shop: Shop) -> Iterator[CacheClient]:
    pools: list[ConnectionPool] = []
    make = connection_pool_factory_builder()

    def make_and_note(address: ServerAddress) -> ConnectionPool:
        pools.append(make(address))
        return pools[-1]

    address = ServerAddress("127.0.0.1", shop.proxy.port)
    with shop.proxy.connect() as wire:
        wire.expect(b"flush_all\r\n", b"OK\r\n")
    yield CacheClient.cache_client_from_servers(servers=[address], connection_pool_factory_fn=make_and_note)
    for pool in pools:
        while pool.get_counters().available:
            pool.pop_connection().close()


def test_a_library_stores_reads_and_counts(client: CacheClient) -> None:
    for name in ("a", "schlüssel", "k" * 400):  # the last ones are sent as base64
        key = Key(name)
        assert client.get(key) is None
        assert client.set(key, {"x": [1, 2]}, ttl=60)
        assert client.get(key) == {"x": [1, 2]}
        assert not client.set(key, 2, ttl=60, set_mode=SetMode.ADD)
        _, token = client.get_cas(key)
        assert token is not None
        assert client.set(key, 3, ttl=60, cas_token=token)
        assert not client.set(key, 4, ttl=60, cas_token=token)
        assert client.touch(key, ttl=30)
        assert client.delete(key)
        assert client.get(key) is None
        assert client.delta_initialize(key, delta=5, initial_value=10, initial_ttl=60)
        assert client.delta_and_get(key, delta=5) == 15
        assert client.delta_and_get(key, delta=-20) == 0


def test_a_library_asks_for_many_at_once(client: CacheClient) -> None:
    values = {Key(f"many:{i}"): f"value {i}" * (i + 1) for i in range(300)}
    for key, value in values.items():
        client.set(key, value, ttl=60, no_reply=True)
    assert client.multi_get([*values, Key("none")]) == {**values, Key("none"): None}


def test_a_library_takes_leases(client: CacheClient) -> None:
    policy = LeasePolicy(ttl=30, miss_retries=1, miss_retry_wait=0.01)
    assert client.get_or_lease(Key("lease"), lease_policy=policy) is None
    assert client.set(Key("lease"), "mine", ttl=60)
    assert client.get_or_lease(Key("lease"), lease_policy=policy) == "mine"
    assert client.invalidate(Key("lease"))
