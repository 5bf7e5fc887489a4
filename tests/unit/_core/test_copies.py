"""What becomes of a batch's keys: verified, taken back, copied again, given up."""

from memagent._core.copies import ATTEMPTS, Copies, Route, Tally
from memagent._core.marks import Marks
from memagent._core.warming import CLEAR, FETCH, STORE, Batch
from tests.support.warming import batch_of, fetched, hear, meta_item


def test_an_empty_batch_has_nothing_to_do() -> None:
    empty = Copies(Route(Tally()))
    assert (len(empty), empty.verify(False), empty.again(), empty.doubt(), empty.finish()) == (
        0,
        0,
        None,
        0,
        0,
    )


def stored(keys: list[bytes], marks: Marks | None, ttl: int = -1) -> Batch:
    batch = batch_of(keys, Route(Tally(), marks))
    fetched(batch, b"".join(meta_item(key, ttl=ttl) for key in keys))
    hear(batch, STORE, b"MN\r\n")
    batch.finish()
    return batch


def test_a_key_whose_mark_has_moved_is_taken_back_and_copied_again() -> None:
    marks = Marks()
    batch = stored([b"a", b"b", b"c"], marks)
    assert batch.verify(False) == 0
    marks.stamp_key(b"b")
    assert batch.verify(False) == 1
    assert batch.clear() == b"md b q\r\nmn\r\n"
    # 1.6.18 says NF in spite of q where the key has gone by itself.
    assert hear(batch, CLEAR, b"NF\r\nMN\r\n") == b""
    again = batch.again()
    assert again is not None
    assert (len(again), again.attempt) == (1, 1)
    assert again.fetch() == b"mg b v f t c u k\r\n"
    assert (batch.route.tally.copied, batch.route.tally.again) == (2, 1)


def test_a_mark_that_moves_before_the_fetch_is_sent_does_not_count() -> None:
    marks = Marks()
    batch = batch_of([b"a"], Route(Tally(), marks))
    marks.stamp_key(b"a")
    fetched(batch, meta_item(b"a"))
    hear(batch, STORE, b"MN\r\n")
    batch.finish()
    assert batch.verify(False) == 0
    assert batch.again() is None


def test_a_flush_takes_everything_back() -> None:
    marks = Marks()
    batch = stored([b"a", b"b"], marks)
    marks.stamp_flush()
    assert batch.verify(False) == 2


def test_after_all_attempts_a_key_is_left_missing() -> None:
    marks = Marks()
    batch: Batch | None = stored([b"a"], marks)
    for attempt in range(ATTEMPTS):
        assert batch is not None
        assert batch.attempt == attempt
        if attempt:
            fetched(batch, meta_item(b"a"))
            hear(batch, STORE, b"MN\r\n")
            batch.finish()
        tally = batch.route.tally
        marks.stamp_key(b"a")
        assert batch.verify(False) == 1
        assert batch.clear() == b"md a q\r\nmn\r\n"
        hear(batch, CLEAR, b"MN\r\n")
        batch = batch.again()
    assert batch is None
    assert (tally.copied, tally.changed, tally.again) == (0, 1, ATTEMPTS - 1)


def test_a_late_store_is_only_wrong_for_what_expires() -> None:
    assert stored([b"a", b"b"], Marks()).verify(late=True) == 0
    assert stored([b"a", b"b"], None, ttl=50).verify(late=True) == 2
    assert stored([b"a", b"b"], None, ttl=50).verify(late=False) == 0


def test_a_batch_whose_source_is_lost_still_counts_what_was_sent() -> None:
    route = Route(Tally(), Marks())
    batch = batch_of([b"a", b"b", b"c"], route)
    batch.fetch()
    hear(batch, FETCH, meta_item(b"a") + b"VA 5 kb f0 t-1 c1\r\nhal")
    batch.abandon()
    assert batch.stores() == b"ms a 1 ME q F0 O0\r\nv\r\nmn\r\n"
    hear(batch, STORE, b"MN\r\n")
    assert batch.is_stored
    assert batch.finish() == 1
    assert (route.tally.copied, route.tally.failed) == (1, 2)


def test_after_the_target_was_lost_everything_sent_is_in_doubt() -> None:
    marks = Marks()
    batch = stored([b"a", b"b"], marks)
    assert batch.doubt() == 2
    assert batch.doubt() == 2
    assert batch.clear() == b"md a q\r\nmd b q\r\nmn\r\n"
    batch.forget()
    assert (batch.route.tally.copied, batch.route.tally.failed) == (0, 2)
    sent = batch_of([b"a", b"b"], Route(Tally()))
    fetched(sent, meta_item(b"a") + b"EN kb\r\n")
    assert sent.doubt() == 1
