"""Many keys in one request: behaviour.md section 2 (multiget), section 1 (placement)."""

import threading

from tests.functional.tools import Shop, item, route, storage, store
from tests.support.memcached import Memcached


def test_order_is_that_of_the_request(shop: Shop) -> None:
    """Section 2: as memcached answers, although the keys are on three servers."""
    keys = [b"m:%d" % number for number in range(100)]
    assert set(route(shop.proxy, keys)) == {0, 1, 2}
    with shop.proxy.connect() as wire:
        store(wire, {key: b"v" + key for key in keys if not key.endswith(b"3")})
        expected = b"".join(item(key, b"v" + key) for key in keys if not key.endswith(b"3")) + b"END\r\n"
        wire.expect(b"get " + b" ".join(keys) + b"\r\n", expected)
        backwards = (
            b"".join(item(key, b"v" + key) for key in keys[::-1] if not key.endswith(b"3")) + b"END\r\n"
        )
        wire.expect(b"get " + b" ".join(keys[::-1]) + b"\r\n", backwards)
        wire.expect(b"gat 0 " + b" ".join(keys) + b"\r\n", expected)


def test_duplicates_are_answered_as_often_as_asked(direct: Memcached, shop: Shop) -> None:
    """Issue 2: duplicated keys answered as memcached does."""
    request = b"get " + b" ".join(b"d:%d" % (number % 7) for number in range(30)) + b"\r\n"
    replies = []
    for target in (direct, shop.proxy):
        with target.connect() as wire:
            store(wire, {b"d:%d" % number: b"%d" % number for number in range(0, 7, 2)})
            replies.append(wire.ask(request, b"END\r\n"))
    assert replies[1] == replies[0]
    assert replies[0].count(b"VALUE d:0 ") == 5


def test_ten_thousand_keys_in_one_request(shop: Shop) -> None:
    """Issue 2: 10,000 keys in one request work; half of them are there."""
    keys = [b"%06d:" % number + b"k" * 60 for number in range(10_000)]
    stream = b"".join(storage(b"set", key, key[:6], tail=b" noreply") for key in keys[::2])
    expected = b"".join(item(key, key[:6]) for key in keys[::2]) + b"END\r\n"
    with shop.proxy.connect(deadline_s=20) as wire:
        wire.expect(stream + b"mn\r\n", b"MN\r\n")
        for verb in (b"get", b"get"):
            sender = threading.Thread(target=wire.send, args=(verb + b" " + b" ".join(keys) + b"\r\n",))
            sender.start()
            assert wire.read_exact(len(expected)) == expected
            sender.join()
        wire.expect(b"mn\r\n", b"MN\r\n")


def test_a_line_that_no_server_takes_whole_is_split(shop: Shop) -> None:
    """Section 2: split where a line would be too long. memcached takes gat lines of 2048 bytes only."""
    keys = [b"%03d:" % number + b"k" * 20 for number in range(150)]
    with shop.proxy.connect() as wire:
        store(wire, {key: key[:3] for key in keys})
        expected = b"".join(item(key, key[:3]) for key in keys) + b"END\r\n"
        for _ in range(20):
            wire.expect(b"gat 0 " + b" ".join(keys) + b"\r\n", expected)


def test_multigets_of_many_clients_at_once(shop: Shop) -> None:
    """Section 2, order."""
    wrong: list[str] = []

    def run(name: int) -> None:
        keys = [b"c%d:%d" % (name, number) for number in range(60)]
        with shop.proxy.connect(deadline_s=20) as wire:
            store(wire, dict.fromkeys(keys, b"%d" % name))
            expected = b"".join(item(key, b"%d" % name) for key in keys) + b"END\r\n"
            wire.send((b"get " + b" ".join(keys) + b"\r\n") * 40)
            for _ in range(40):
                if wire.read_exact(len(expected)) != expected:
                    wrong.append(f"client {name}")

    threads = [threading.Thread(target=run, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_values_are_where_magent_route_says(shop: Shop) -> None:
    """Section 1: the owner, and no other server, holds the key."""
    keys = [b"place:%d" % number for number in range(60)]
    owners = route(shop.proxy, keys)
    with shop.proxy.connect() as wire:
        store(wire, {key: b"at " + key for key in keys})
    holders = []
    for key in keys:
        found = [index for index, server in enumerate(shop.servers) if server.get(key) is not None]
        assert len(found) == 1, (key, found)
        holders.append(found[0])
    assert holders == owners
    assert set(holders) == {0, 1, 2}


def test_every_verb_goes_to_the_owner(shop: Shop) -> None:
    """Section 1: one key, one server, whatever the verb."""
    for index, server in enumerate(shop.servers):
        key = shop.keys_of(index, 1, "verbs")[0]
        before = int(server.stats()["cmd_touch"])
        with shop.proxy.connect() as wire:
            wire.expect(storage(b"add", key, b"5"), b"STORED\r\n")
            wire.expect(b"incr " + key + b" 2\r\n", b"7\r\n")
            wire.expect(storage(b"append", key, b"0"), b"STORED\r\n")
            assert server.get(key) == b"70"
            wire.expect(b"touch " + key + b" 100\r\n", b"TOUCHED\r\n")
            assert int(server.stats()["cmd_touch"]) == before + 1
            wire.expect(b"delete " + key + b"\r\n", b"DELETED\r\n")
            assert server.get(key) is None


def test_too_large_a_value_deletes_the_old_one_at_its_owner(shop: Shop) -> None:
    """Section 5, value: as memcached does; add and the others leave it."""
    key = shop.keys_of(1, 1, "large")[0]
    too_large = b"x" * ((1 << 20) + 1)
    with shop.proxy.connect() as wire:
        for verb, gone in ((b"set", True), (b"add", False), (b"replace", False), (b"append", False)):
            shop.servers[1].set(key, b"old")
            wire.expect(storage(verb, key, too_large), b"SERVER_ERROR object too large for cache\r\n")
            wire.expect(b"get " + key + b"\r\n", b"END\r\n" if gone else item(key, b"old") + b"END\r\n")
            assert (shop.servers[1].get(key) is None) is gone
