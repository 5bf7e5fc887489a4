"""A pool: a key's request goes to the server that the placement names, whatever else happens."""

from collections.abc import Callable

from tests.support.core import World


def test_every_key_goes_to_its_owner(make_world: Callable[..., World]) -> None:
    world = make_world(4, 2)
    client = world.client()
    keys = [b"key:%d" % i for i in range(200)]
    for key in keys:
        assert world.ask(client, b"set %b 0 0 1\r\nx\r\n" % key) == b"STORED\r\n"
    for index, fake in enumerate(world.servers[:4]):
        own = [key for key in keys if world.owner(key) == index]
        assert own
        assert sorted(fake.store.items) == sorted(own)
    assert not any(fake.lines for fake in world.servers[4:])


def test_a_down_server_keeps_its_keys(make_world: Callable[..., World]) -> None:
    """No re-hashing: what stood on it is found again when it is back."""
    world = make_world(2)
    client = world.client()
    key = world.keys(1, 1)[0]
    world.ask(client, b"set %b 0 0 1\r\nx\r\n" % key)
    world.servers[1].die()
    assert world.ask(client, b"get %b\r\n" % key) == b"END\r\n"
    assert b"get " + key not in world.servers[0].lines


def test_what_it_is_made_of_can_be_seen(make_world: Callable[..., World]) -> None:
    pool = make_world(2, 1, miss_when_down=False, multiget_deadline_us=7).pool
    assert [server.name for server in pool.servers + pool.backups] == ["s0", "s1", "s2"]
    assert (pool.name, pool.miss_when_down, pool.multiget_deadline_us) == ("pool", False, 7)
