"""Clients of other people, unchanged, through the proxy: issue 2's purpose."""

from collections.abc import Iterator
from threading import Thread

import pytest
from pymemcache.client.base import Client, PooledClient
from pymemcache.exceptions import MemcacheServerError

from tests.functional.tools import Shop


@pytest.fixture
def client(shop: Shop) -> Iterator[Client]:
    client = Client(("127.0.0.1", shop.proxy.port), timeout=5, connect_timeout=5, no_delay=True)
    client.flush_all(noreply=False)
    yield client
    client.close()


def test_storing_and_reading(client: Client) -> None:
    assert client.set("a", b"1", noreply=False, flags=7)
    assert client.add("a", b"2", noreply=False) is False
    assert client.replace("b", b"2", noreply=False) is False
    assert client.append("a", b"2", noreply=False)
    assert client.prepend("a", b"0", noreply=False)
    assert client.get("a") == b"012"
    assert client.incr("a", 5) == 17
    assert client.decr("a", 50) == 0
    assert client.touch("a", 100, noreply=False)
    assert client.get("a") == b"0  "
    assert client.delete("a", noreply=False)
    assert client.get("a") is None
    assert client.incr("a", 1) is None


def test_cas(client: Client) -> None:
    client.set("c", b"1", noreply=False)
    value, token = client.gets("c")
    assert value == b"1"
    assert client.cas("c", b"2", token, noreply=False) is True
    assert client.cas("c", b"3", token, noreply=False) is False
    assert client.cas("none", b"3", token, noreply=False) is None


def test_many_at_once(client: Client) -> None:
    values = {f"many:{number}": b"%d" % number for number in range(1000)}
    assert client.set_many(values, noreply=False) == []
    assert client.get_many([*values, "none"]) == values
    assert {key: value for key, (value, _) in client.gets_many(values).items()} == values
    assert client.delete_many(values, noreply=False)
    assert client.get_many(values) == {}


def test_noreply_is_its_default(client: Client) -> None:
    client.set_many({f"quiet:{number}": b"x" for number in range(300)})
    client.set("quiet:1", b"y")
    client.delete("quiet:2")
    client.flush_all(delay=1000)
    assert client.get_many(["quiet:0", "quiet:1", "quiet:2"]) == {"quiet:0": b"x", "quiet:1": b"y"}
    client.flush_all()
    assert client.get("quiet:1") is None


def test_large_values_and_refusals(client: Client) -> None:
    value = bytes(range(256)) * 4000
    assert client.set("large", value, noreply=False)
    assert client.get("large") == value
    with pytest.raises(MemcacheServerError):
        client.set("large", value * 2, noreply=False)
    assert client.get("large") is None


def test_version_and_stats(client: Client) -> None:
    assert client.version()
    stats = client.stats()
    assert stats[b"threads"] == 1
    client.quit()


def test_threads_with_a_pool_of_connections(shop: Shop) -> None:
    client = PooledClient(("127.0.0.1", shop.proxy.port), max_pool_size=8, timeout=10)
    wrong: list[object] = []

    def run(name: int) -> None:
        for number in range(100):
            key, value = f"pooled:{name}:{number % 7}", b"%d:%d" % (name, number)
            # with a reply: the get may take another connection, and nobody orders a quiet set before that
            client.set(key, value, noreply=False)
            if (found := client.get(key)) != value:
                wrong.append((key, found, value))

    threads = [Thread(target=run, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.close()
    assert wrong == []
