"""Pipelining of any depth, replies in order, clients kept apart: behaviour.md section 2 (order, quiet)."""

import random
import threading

from tests.functional.tools import Shop, item, storage, store
from tests.support.memcached import Memcached
from tests.support.proxy import Proxy

DEPTH = 10_000


def requests(seed: int, count: int) -> bytes:
    """Mixed verbs over few keys, so that order shows in every reply; mn marks the end."""
    dice = random.Random(seed)
    keys = [b"p%d:%d" % (seed, number) for number in range(40)]
    found = []
    for number in range(count):
        key = dice.choice(keys)
        verb = dice.choice(
            (b"set", b"set", b"get", b"get", b"many", b"incr", b"append", b"add", b"delete", b"touch", b"bad")
        )
        quiet = b" noreply" if dice.random() < 0.2 else b""
        if verb == b"get":
            found.append(b"get " + key + b"\r\n")
        elif verb == b"many":
            found.append(b"get " + b" ".join(dice.choices(keys, k=dice.randint(2, 12))) + b"\r\n")
        elif verb in (b"set", b"add", b"append"):
            value = b"%d" % number if dice.random() < 0.9 else b"v" * dice.randint(0, 500)
            found.append(storage(verb, key, value, tail=quiet))
        elif verb == b"incr":
            found.append(b"incr " + key + b" %d" % dice.randint(0, 9) + quiet + b"\r\n")
        elif verb == b"delete":
            found.append(b"delete " + key + quiet + b"\r\n")
        elif verb == b"touch":
            found.append(b"touch " + key + b" 0" + quiet + b"\r\n")
        else:
            found.append(
                dice.choice([b"foo\r\n", b"incr " + key + b" x\r\n", b"set " + key + b" 0 0 a\r\n", b"\r\n"])
            )
    return b"".join(found) + b"mn\r\n"


def answers(target: Memcached | Proxy, stream: bytes, piece_bytes: int = 1 << 16) -> bytes:
    """Everything is sent while another thread reads: neither side may wait for the other."""
    with target.connect(deadline_s=30) as wire:
        sender = threading.Thread(target=wire.send_slowly, args=(stream, piece_bytes))
        sender.start()
        reply = wire.read_until(b"MN\r\n")
        sender.join()
    return reply


def test_ten_thousand_mixed_requests_in_one_go(direct: Memcached, shop: Shop) -> None:
    """Section 2, order."""
    stream = requests(1, DEPTH)
    assert answers(shop.proxy, stream) == answers(direct, stream)


def test_the_same_however_it_is_cut(direct: Memcached, shop: Shop) -> None:
    """Section 2, order; section 5, never desynchronises."""
    for seed, piece_bytes in ((2, 1), (3, 7), (4, 1461)):
        stream = requests(seed, 300)
        assert answers(shop.proxy, stream, piece_bytes) == answers(direct, stream)


def test_clients_do_not_mix(direct: Memcached, shop: Shop) -> None:
    """Section 2, order: each of many clients at once gets its own replies, as if it were alone."""
    streams = {seed: requests(seed, 1500) for seed in range(10, 18)}
    expected = {seed: answers(direct, stream) for seed, stream in streams.items()}
    got: dict[int, bytes] = {}

    def run(seed: int) -> None:
        got[seed] = answers(shop.proxy, streams[seed], 4096)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in streams]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == expected


def test_deep_pipeline_of_large_values(shop: Shop) -> None:
    """Section 2, order: 64 MB of replies to one batch, read as they come."""
    with shop.proxy.connect(deadline_s=30) as wire:
        value = bytes(range(256)) * 2000
        store(wire, {b"big:%d" % number: value + b"%d" % number for number in range(5)})
        whole = b"".join(item(b"big:%d" % n, value + b"%d" % n) + b"END\r\n" for n in range(5))
        sender = threading.Thread(
            target=wire.send, args=(b"".join(b"get big:%d\r\n" % n for n in range(5)) * 25,)
        )
        sender.start()
        for _ in range(25):
            assert wire.read_exact(len(whole)) == whole
        sender.join()


def test_quiet_requests_shift_nothing(shop: Shop) -> None:
    """Section 2, quiet requests: errors that a server gives to them are not seen by anybody."""
    with shop.proxy.connect() as wire, shop.proxy.connect() as other:
        for number in range(200):
            wire.send(storage(b"set", b"word", b"x", tail=b" noreply"))
            wire.send(b"incr word 1 noreply\r\ntouch none:%d 1 noreply\r\n" % number)
            wire.send(
                storage(b"set", b"word", b"y" * ((1 << 20) - 10), tail=b" noreply")
                if number % 50 == 0
                else b""
            )
            wire.send(b"mn\r\n")
            other.expect(b"incr none 1\r\nget none\r\n", b"NOT_FOUND\r\nEND\r\n")
        wire.expect(b"", b"MN\r\n" * 200)


def test_a_request_is_not_read_by_the_measures_of_an_earlier_one(shop: Shop) -> None:
    """Section 2, quiet requests: whatever header came before, no server sees their noreply."""
    quiet = (
        b"flush_all 0",
        b"incr n 1",
        b"decr n 12",
        b"touch k 0",
        b"delete z",
        b"delete zz 0",
        b"verbosity 1",
    )
    with shop.proxy.connect() as wire:
        for digits in range(1, 20):
            header = storage(b"set", b"k", b"v", b"%s 0" % (b"0" * digits))
            for request in quiet:
                quietly = header + request + b" noreply\r\nget none\r\nmn\r\n"
                wire.expect(quietly, b"STORED\r\nEND\r\nMN\r\n")
                wire.expect(b"flush_all\r\n" + storage(b"set", b"n", b"5"), b"OK\r\nSTORED\r\n")
                wire.expect(b"incr n 1\r\ntouch k 0\r\ndelete z\r\n", b"6\r\nNOT_FOUND\r\nNOT_FOUND\r\n")
