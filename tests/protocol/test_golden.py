"""Byte for byte what memcached answers (behaviour.md sections 2 and 5).

Each pair of golden/*.txt runs against both kinds of memcached, so that the file stays true, against the
proxy, and through the plain request parser, which must answer by itself what need not be asked of a server.
"""

from collections.abc import Iterator

import pytest

from tests.protocol.golden_pairs import SETUP, SETUP_REPLY, Pair, everything
from tests.reference.requests import RequestParser
from tests.support.memcached import Memcached
from tests.support.proxy import Proxy
from tests.support.wire import Wire

PAIRS = everything()
each_pair = pytest.mark.parametrize("pair", PAIRS, ids=[pair.where for pair in PAIRS])


def run(target: Memcached | Proxy, pair: Pair) -> None:
    with target.connect(deadline_s=3) as wire:
        wire.expect(SETUP, SETUP_REPLY)
        wire.send(pair.request if pair.closed else pair.request + b"mn\r\n")
        reply = answer(wire, pair, isinstance(target, Proxy))
        expected = pair.reply(of_proxy=isinstance(target, Proxy))
        assert pair.matches(reply, of_proxy=isinstance(target, Proxy)), (
            f"{reply[:500]!r} is not {expected[:500]!r}"
        )


def answer(wire: Wire, pair: Pair, of_proxy: bool) -> bytes:
    """Everything up to the end, or up to the MN that was asked for behind the case."""
    if pair.closed:
        return wire.read_to_end()
    reply = b""
    for _ in range(pair.reply(of_proxy).count(b"MN\r\n") + 1):
        reply += wire.read_until(b"MN\r\n")
    return reply.removesuffix(b"MN\r\n")


@pytest.fixture(scope="module")
def old() -> Iterator[Memcached]:
    server = Memcached.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def new() -> Iterator[Memcached]:
    server = Memcached.start("new")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def proxy(old: Memcached, new: Memcached) -> Iterator[Proxy]:
    """Before servers of both kinds: k and n, the keys of most cases, live on different ones."""
    running = Proxy.start([old, new])
    yield running
    running.stop()
    running.clean_up()


@each_pair
def test_memcached_of_this_machine(old: Memcached, pair: Pair) -> None:
    run(old, pair)


@each_pair
def test_newer_memcached(new: Memcached, pair: Pair) -> None:
    run(new, pair)


@each_pair
def test_proxy(proxy: Proxy, pair: Pair) -> None:
    run(proxy, pair)


@each_pair
def test_plain_parser_answers_what_it_refuses(pair: Pair) -> None:
    """Its error replies are in the proxy's, in order; with nothing asked of a server they are all of it."""
    events = RequestParser(max_item_bytes=1 << 20).feed(pair.request)
    own = [event[-2] for event in events if event[0] in ("error", "too_large") and not event[-1]]
    assert all(isinstance(reply, bytes) for reply in own)
    rest = pair.reply(of_proxy=True)
    for reply in own:
        assert isinstance(reply, bytes)
        _, found, rest = rest.partition(reply)
        assert found, f"{reply!r} is missing or out of order in {pair.reply(of_proxy=True)!r}"
    if not any(event[0] == "request" for event in events):
        assert pair.reply(of_proxy=True) == b"".join(reply for reply in own if isinstance(reply, bytes))


def test_each_difference_from_memcached_has_its_reason() -> None:
    for pair in PAIRS:
        if pair.proxy_only is not None:
            assert pair.reasons, pair.where
            assert pair.memcached_only is not None, pair.where
            assert pair.proxy_only != pair.memcached_only, pair.where
