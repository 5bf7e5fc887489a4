"""A source: which listing it is asked for, and what it is taken for."""

import pytest

from memagent._core.copies import Route, Tally
from memagent._core.listing import Listing
from memagent._core.marks import Marks
from memagent.errors import MemagentError
from memagent.rewarm.source import Source
from memagent.settings import PoolConfig
from tests.support.liar import Liar
from tests.support.meta_server import MetaServer, Stored
from tests.support.wait import wait_until
from tests.support.warming import PLACEMENT

ITEMS = {b"key:%d" % i: Stored(b"v") for i in range(100)}


def source_at(port: int, marks: Marks | None = None) -> Source:
    pool = PoolConfig.model_validate(
        {"name": "main", "servers": ["127.0.0.1:1"], "backups": [f"127.0.0.1:{port}"]}
    )
    tally = Tally()
    source = Source(pool, pool.backups[0], ("127.0.0.1",), Listing(PLACEMENT, 0, 1, tally), tally)
    source.connect(lambda: marks, 0.0)
    return source


def list_all(source: Source) -> None:
    now_s = 0.0

    def listed() -> bool:
        nonlocal now_s
        now_s += 0.1
        source.begin_listing(now_s)
        if source.dump is not None:
            source.hear_listing(now_s)
        return not source.is_listing

    wait_until(listed)


@pytest.mark.parametrize(
    ("version", "meta", "command"),
    [
        ("1.6.38", True, b"lru_crawler mgdump hash"),
        ("1.6.19", True, b"lru_crawler mgdump hash"),
        ("1.6.18", True, b"lru_crawler metadump hash"),
        ("1.5.6", False, b"lru_crawler metadump hash"),
    ],
)
def test_the_version_decides_how_it_lists(version: str, meta: bool, command: bytes) -> None:
    server = MetaServer(ITEMS, version, meta)
    with Liar(server.serve, says_who=False) as liar:
        source = source_at(liar.port, Marks())
        assert (source.marks_before is None) == meta
        assert source.expected_keys == 0
        list_all(source)
        assert source.expected_keys == 100
        source.close()
    assert server.lines[-1] == command
    assert (source.tally.listed, source.listing.waiting, source.item_bytes) == (100, 100, 100)


def test_it_is_done_when_nothing_is_left() -> None:
    with Liar(MetaServer(ITEMS).serve, says_who=False) as liar:
        source = source_at(liar.port)
        assert not source.is_done
        list_all(source)
        assert source.has_keys
        source.set_target(source.facts, Route(source.tally))
        assert len(source.next_batch(60)) == 60
        assert len(source.next_batch(60)) == 40
        assert not source.has_keys
        assert source.is_done
        source.close()


def test_what_is_to_be_copied_again_comes_first() -> None:
    with Liar(MetaServer(ITEMS).serve, says_who=False) as liar:
        source = source_at(liar.port)
        list_all(source)
        source.set_target(source.facts, Route(source.tally))
        again = source.next_batch(3)
        source.again.append(again)
        assert source.next_batch(60) is again
        source.again.append(again)
        source.stop_listing()
        assert source.tally.failed == 3
        source.close()


def test_a_locked_listing_is_asked_for_less_and_less_often() -> None:
    server = MetaServer(
        ITEMS, twist=lambda line, reply: b"BUSY later\r\n" if line.startswith(b"lru_crawler") else reply
    )
    with Liar(server.serve, says_who=False) as liar:
        source = source_at(liar.port)
        waits = []
        now_s = 0.0
        for _ in range(7):
            source.begin_listing(now_s)
            wait_until(lambda now_s=now_s: source.dump is None or source.hear_listing(now_s))
            assert source.is_locked
            in_s = source.list_in_s(now_s)
            assert in_s is not None
            waits.append(in_s)
            source.begin_listing(now_s + in_s / 2)
            assert source.dump is None
            now_s += in_s
        source.close()
    assert waits == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_a_listing_that_does_not_go_on_is_given_up() -> None:
    server = MetaServer(twist=lambda line, reply: b"mg a\r\n" if line.startswith(b"lru_crawler") else reply)
    with Liar(server.serve, says_who=False) as liar:
        source = source_at(liar.port)
        source.begin_listing(0.0)
        source.check_silence(29.0)
        with pytest.raises(MemagentError, match="has not gone on"):
            source.check_silence(31.0)
        source.lose("it said nothing")
        source.lose("and more")
        assert source.problem == "it said nothing"
        assert source.is_done
        source.check_silence(99.0)
