"""A batch on its way: the requests, what the replies make of it, and replies that cannot be."""

import contextlib
import random

import pytest

from memagent._core.copies import Route, Tally
from memagent._core.marks import Marks
from memagent._core.warming import ASK, CLEAR, FETCH, GIVE_BACK, STORE
from memagent.errors import ProtocolError
from tests.support.warming import batch_of, fetched, hear, listed, meta_item

GLOBAL = 1 << 61
DAYS = 86400
CUTS = pytest.mark.parametrize("piece_bytes", [0, 1, 3, 50])


# ---------------------------------------------------------------- meta servers


@CUTS
def test_what_the_target_has_is_not_fetched(piece_bytes: int) -> None:
    route = Route(Tally())
    batch = batch_of([b"a", b"b", b"c"], route)
    assert batch.ask() == b"mg a u q O0\r\nmg b u q O1\r\nmg c u q O2\r\nmn\r\n"
    assert hear(batch, ASK, b"HD O1\r\nMN\r\nrest", piece_bytes) == b"rest"
    assert batch.n_there == route.tally.there == 1
    assert batch.fetch() == b"mg a v f t c u k\r\nmg c v f t c u k\r\n"
    assert not batch.fetched


def test_a_batch_that_is_all_there_needs_no_fetch() -> None:
    batch = batch_of([b"a"], Route(Tally()))
    batch.ask()
    hear(batch, ASK, b"HD O0\r\nMN\r\n")
    assert batch.fetch() == b""
    assert batch.is_stored
    assert batch.finish() == 0


@CUTS
def test_an_item_keeps_value_flags_and_time(piece_bytes: int) -> None:
    route = Route(Tally())
    batch = batch_of([b"a", b"b", b"c", b"d"], route)
    replies = (
        meta_item(b"a", b"x\r\ny", 4294967295, -1)
        + meta_item(b"b", b"", 0, 7)
        + b"EN kc\r\n"
        + meta_item(b"d", b"MN\r\n", 1, 30 * DAYS)
    )
    lines = fetched(batch, replies, piece_bytes)
    assert lines == [
        *(b"ms a 4 ME q F4294967295 O0", b"x", b"y"),
        *(b"ms b 0 ME q F0 T7 O1", b""),
        *(b"ms d 4 ME q F1 T2592000 O3", b"MN", b""),
        b"mn",
    ]
    assert not batch.is_stored
    assert hear(batch, STORE, b"MN\r\n", piece_bytes) == b""
    assert batch.is_stored
    assert batch.finish() == 3
    assert (route.tally.copied, route.tally.gone, route.tally.bytes) == (3, 1, 4 + 0 + 4 + 3)


@pytest.mark.parametrize(
    ("ttl", "waited_s", "sent"),
    [
        (-1, 9, None),
        (10, 0, 10),
        (10, 9, 1),
        (10, 10, 0),
        (1, 0, 1),
        (0, 0, 0),
        (4294967295, 0, 0),
        (30 * DAYS, 0, 30 * DAYS),
        (30 * DAYS + 1, 0, 1800000000 + 30 * DAYS + 1),
        (40 * DAYS, 10 * DAYS, 30 * DAYS),
    ],
)
def test_no_item_lives_longer_than_it_had_left(ttl: int, waited_s: int, sent: int | None) -> None:
    """`sent` 0: not at all."""
    route = Route(Tally())
    batch = batch_of([b"a"], route)
    batch.waited_s, batch.target_now_s = waited_s, 1_800_000_000
    lines = fetched(batch, meta_item(b"a", ttl=ttl))
    if sent == 0:
        assert lines == []
        assert route.tally.expired == 1
        assert batch.is_stored
    else:
        assert lines[0] == b"ms a 1 ME q F0%b O0" % (b"" if sent is None else b" T%d" % sent)


@pytest.mark.parametrize(
    ("cas", "keeps", "sent"),
    [(GLOBAL | 5, True, b" E%d" % (GLOBAL | 5)), (GLOBAL | 5, False, b""), (5, True, b"")],
)
def test_a_cas_that_every_holder_shares_is_kept(cas: int, keeps: bool, sent: bytes) -> None:
    batch = batch_of([b"a"], Route(Tally(), keeps_cas=keeps))
    assert fetched(batch, meta_item(b"a", cas=cas))[0] == b"ms a 1 ME q F0%b O0" % sent


def test_a_key_goes_on_as_the_source_wrote_it() -> None:
    # Asked for as text, for that is how it was listed; stored by somebody in base64.
    batch = batch_of([b"foo", b"bar"], Route(Tally()))
    replies = b"VA 1 kZm9v b f0 t-1 c1\r\nv\r\n" + meta_item(b"bar")
    assert fetched(batch, replies) == [b"ms Zm9v 1 ME q F0 b O0", b"v", b"ms bar 1 ME q F0 O1", b"v", b"mn"]


def test_a_binary_key_stays_binary_all_the_way() -> None:
    marks = Marks()
    batch = batch_of([b"a b"], Route(Tally(), marks), binary=True)
    assert batch.ask() == b"mg YSBi u q O0 b\r\nmn\r\n"
    hear(batch, ASK, b"MN\r\n")
    assert batch.fetch() == b"mg YSBi v f t c u O0 b\r\n"
    # The key is not asked for: some items have it written into the reply as it is.
    lines = fetched(batch, b"VA 1 f0 t-1 c1 O0\r\nv\r\n")
    assert lines[0] == b"ms YSBi 1 ME q F0 b O0"
    hear(batch, STORE, b"MN\r\n")
    batch.finish()
    marks.stamp_key(b"a b")
    assert batch.verify(False) == 1
    assert batch.clear() == b"md YSBi q b\r\nmn\r\n"


def test_where_the_copy_can_be_told_by_its_cas_a_newer_value_is_left_there() -> None:
    marks = Marks()
    cas = 1 << 61 | 7
    batch = batch_of([b"a"], Route(Tally(), marks, keeps_cas=True))
    batch.ask()
    hear(batch, ASK, b"MN\r\n")
    batch.fetch()
    fetched(batch, meta_item(b"a", cas=cas))
    hear(batch, STORE, b"MN\r\n")
    batch.finish()
    marks.stamp_key(b"a")
    assert batch.verify(False) == 1
    assert batch.clear() == b"md a q C%d\r\nmn\r\n" % cas


def test_stores_go_on_before_all_is_fetched() -> None:
    batch = batch_of([b"a", b"b"], Route(Tally()))
    batch.fetch()
    hear(batch, FETCH, meta_item(b"a"))
    assert batch.unsent_bytes > 0
    assert batch.stores() == b"ms a 1 ME q F0 O0\r\nv\r\nmn\r\n"
    assert batch.stores() == b""
    hear(batch, STORE, b"MN\r\n")
    assert not batch.is_stored
    hear(batch, FETCH, b"EN kb\r\n")
    assert batch.is_stored
    assert batch.finish() == 1


def test_what_the_target_refuses_is_counted_by_its_reason() -> None:
    route = Route(Tally())
    batch = batch_of([b"a", b"b", b"c", b"d", b"e"], route)
    fetched(batch, b"".join(meta_item(key) for key in (b"a", b"b", b"c", b"d", b"e")))
    refusals = (
        b"NS O1\r\nSERVER_ERROR object too large for cache\r\n"
        b"SERVER_ERROR out of memory storing object\r\nCLIENT_ERROR bad command line format\r\nMN\r\n"
    )
    hear(batch, STORE, refusals)
    batch.finish()
    tally = route.tally
    assert (tally.copied, tally.there, tally.too_big, tally.failed) == (1, 1, 1, 2)


@CUTS
def test_a_value_that_is_too_large_for_the_target_is_passed_over(piece_bytes: int) -> None:
    route = Route(Tally(), largest_bytes=100)
    batch = batch_of([b"a", b"b", b"c"], route)
    replies = meta_item(b"a", b"x" * 101) + meta_item(b"b", b"x" * 100) + meta_item(b"c", b"\r\n" * 60)
    lines = fetched(batch, replies, piece_bytes)
    assert lines[0] == b"ms b 100 ME q F0 O1"
    assert route.tally.too_big == 2


def test_a_stale_item_is_not_copied_and_its_token_goes_back() -> None:
    route = Route(Tally())
    batch = batch_of([b"a", b"b", b"c"], route)
    replies = b"VA 1 ka f0 t-1 c7 X W\r\nv\r\nVA 1 kb f0 t-1 c8 Z X\r\nv\r\n" + meta_item(b"c")
    assert fetched(batch, replies)[0] == b"ms c 1 ME q F0 O2"
    assert (route.tally.changed, batch.n_won) == (2, 1)
    assert batch.give_back() == b"md a I q C7\r\nmn\r\n"
    assert hear(batch, GIVE_BACK, b"EX\r\nMN\r\n") == b""
    assert batch.n_won == 0


@pytest.mark.parametrize(
    "replies",
    [
        b"VA 1 kb f0 t-1 c1\r\nv\r\n",
        b"VA 1 f0 t-1 c1 O0\r\nv\r\n",
        b"VA 1 kZm9v b f0 t-1 c1\r\nv\r\n",
        b"VA 1 ka\r\nv\r\n",
        b"VA 1 ka f0 t-1\r\nv\r\n",
        b"VA 1 ka fx t-1 c1\r\nv\r\n",
        b"VA 1 ka f0 t-2 c1\r\nv\r\n",
        b"VA 1  ka f0 t-1 c1\r\nv\r\n",
        b"VA 2 ka f0 t-1 c1\r\nv\r\nEN\r\n",
        b"VA 99999999999 ka f0 t-1 c1\r\n",
        b"VA -1 ka f0 t-1 c1\r\nv\r\n",
        b"VA ka f0 t-1 c1\r\nv\r\n",
        b"HD ka\r\n",
        b"VALUE a 0 1\r\nv\r\nEND\r\n",
        b"END\r\n",
        b"ERROR\r\n",
        b"CLIENT_ERROR bad command line format\r\n",
        b"EN\n",
        b"\r\n",
        b"x" * 5000,
    ],
)
@pytest.mark.parametrize("piece_bytes", [0, 1])
def test_a_source_that_lies_is_an_error(replies: bytes, piece_bytes: int) -> None:
    batch = batch_of([b"a", b"c"], Route(Tally()))
    batch.fetch()
    with pytest.raises(ProtocolError):
        hear(batch, FETCH, replies, piece_bytes)


@pytest.mark.parametrize(
    "replies",
    [b"HD\r\n", b"HD O7\r\n", b"HD O0x\r\n", b"HD O0\r\nHD O0\r\n", b"EN\r\n", b"ERROR\r\n", b"y" * 5000],
)
def test_a_target_that_lies_is_an_error(replies: bytes) -> None:
    batch = batch_of([b"a"], Route(Tally()))
    batch.ask()
    with pytest.raises(ProtocolError):
        hear(batch, ASK, replies)


@pytest.mark.parametrize("replies", [b"NS O1\r\n", b"HD O0\r\n", b"CLIENT_ERROR bad data chunk\r\n"])
def test_a_target_that_loses_count_is_an_error(replies: bytes) -> None:
    batch = batch_of([b"a"], Route(Tally()))
    fetched(batch, meta_item(b"a"))
    with pytest.raises(ProtocolError):
        hear(batch, STORE, replies)


@pytest.mark.parametrize("meta", [True, False])
def test_noise_never_does_worse_than_an_error(meta: bool) -> None:
    noise = random.Random(2)
    keys = [b"a", b"bb", b"ccc", b"k" * 250]
    good = b"".join(meta_item(key, key * 5, ttl=9) for key in keys)
    if not meta:
        good = b"".join(b"VALUE %b 0 1 9\r\nv\r\n" % key for key in keys) + b"END\r\n"
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(noise.randint(1, 4)):
            data[noise.randrange(len(data))] = noise.choice(b"\r\n 09akVx\xff")
        batch = batch_of(keys, Route(Tally(), source_meta=meta, largest_bytes=1000))
        batch.fetch()
        with contextlib.suppress(ProtocolError):
            hear(batch, FETCH, bytes(data), noise.choice([0, 1, 20]))
        batch.stores()
        batch.abandon()


# ---------------------------------------------------------------- classic servers


@CUTS
def test_a_source_without_meta_is_asked_with_gets(piece_bytes: int) -> None:
    dump = b"".join(
        b"key=%b exp=%d la=1 cas=%d fetch=no cls=1 size=67\n" % line
        for line in [
            (b"a", -1, 1),
            (b"b", 1000100, 2),
            (b"c", -1, 3),
            (b"d", 0, 4),
            (b"e", 1000000, 5),
            (b"f", -1, 6),
        ]
    )
    route = Route(Tally(), source_meta=False, unknown_ttl_s=60)
    batch = listed(dump + b"END\r\n", is_dated=True).take(route, 10)
    assert batch.fetch() == b"gets a b c d e f\r\n"
    batch.source_now_s = 1_000_000
    values = [(b"a", 5, 1), (b"b", 6, 2), (b"d", 8, 4), (b"e", 9, 5), (b"f", 0, 99)]
    replies = b"".join(b"VALUE %b %d 1 %d\r\nv\r\n" % value for value in values) + b"END\r\n"
    assert hear(batch, FETCH, replies, piece_bytes) == b""
    assert batch.fetched
    assert batch.stores().split(b"\r\n")[:-1:2] == [
        b"ms a 1 ME q F5 O0",
        b"ms b 1 ME q F6 T100 O1",
        b"ms d 1 ME q F8 T60 O3",  # too old to say when it expires
        b"ms f 1 ME q F0 T60 O5",  # another item than was listed
        b"mn",
    ]
    assert (route.tally.gone, route.tally.expired) == (1, 1)


def test_a_time_that_may_have_been_changed_since_the_listing_is_unknown() -> None:
    marks, before = Marks(), Marks()
    marks.stamp_key(b"a")
    dump = b"key=a exp=-1 la=1 cas=1 x\nkey=b exp=-1 la=1 cas=2 x\nEND\r\n"
    route = Route(Tally(), marks, before, source_meta=False, target_meta=False, unknown_ttl_s=60)
    batch = listed(dump, is_dated=True).take(route, 10)
    lines = fetched(batch, b"VALUE a 0 1 1\r\nv\r\nVALUE b 0 1 2\r\nv\r\nEND\r\n")
    assert lines == [b"add a 0 60 1", b"v", b"add b 0 0 1", b"v", b"version"]


def test_gets_lines_stay_within_what_a_server_takes() -> None:
    keys = [b"%d" % i + b"k" * 245 for i in range(100)]
    batch = batch_of(keys, Route(Tally(), source_meta=False))
    lines = batch.fetch().split(b"\r\n")[:-1]
    assert len(lines) > 1
    assert max(len(line) for line in lines) <= 8192
    assert b" ".join(line.removeprefix(b"gets ") for line in lines).split(b" ") == keys
    hear(batch, FETCH, b"END\r\n" * (len(lines) - 1))
    assert not batch.fetched
    hear(batch, FETCH, b"END\r\n")
    assert batch.fetched
    assert batch.route.tally.gone == 100


@CUTS
def test_a_target_without_meta_is_filled_with_add(piece_bytes: int) -> None:
    route = Route(Tally(), Marks(), target_meta=False)
    batch = batch_of([b"a", b"b", b"c", b"d", b"e f"], route)
    replies = meta_item(b"a", b"1", 3, 50) + meta_item(b"b") + meta_item(b"c") + meta_item(b"d")
    lines = fetched(batch, replies + b"VA 1 f0 t-1 c1 O4\r\nv\r\n")
    assert lines[:4] == [b"add a 3 50 1", b"1", b"add b 0 0 1", b"v"]
    assert lines[-1] == b"version"
    answers = (
        b"STORED\r\nNOT_STORED\r\nSERVER_ERROR object too large for cache\r\nSERVER_ERROR out of memory\r\n"
    )
    assert hear(batch, STORE, answers + b"VERSION 1.4.31\r\n", piece_bytes) == b""
    assert batch.finish() == 1
    tally = route.tally
    assert (tally.copied, tally.there, tally.too_big) == (1, 1, 1)
    assert tally.failed == 2  # one refused, one whose name only meta commands can say
    route.tally.copied = 5
    assert batch.verify(late=True) == 1
    assert batch.clear() == b"delete a\r\nversion\r\n"
    assert hear(batch, CLEAR, b"DELETED\r\nVERSION 1.4.31\r\n", piece_bytes) == b""


@pytest.mark.parametrize(
    "replies",
    [
        b"VALUE c 0 1 1\r\nv\r\n",
        b"VALUE b 0 1 1\r\nv\r\nVALUE a 0 1 1\r\nv\r\n",
        b"VALUE a 0 1 1\r\nv\r\nVALUE a 0 1 1\r\nv\r\nEND\r\n",
        b"VALUE a\r\n",
        b"VALUE a 0\r\n",
        b"VALUE a 0 1 1 1\r\nv\r\n",
        b"VALUE a 0 99999999999 1\r\n",
        b"VALUE a 0 1 1\r\nvvv",
        b"EN\r\n",
        b"ERROR\r\n",
        b"VA 1 ka f0 t-1 c1\r\n",
    ],
)
def test_a_classic_source_that_lies_is_an_error(replies: bytes) -> None:
    batch = batch_of([b"a", b"b"], Route(Tally(), source_meta=False))
    batch.fetch()
    with pytest.raises(ProtocolError):
        hear(batch, FETCH, replies)


def test_a_classic_target_that_lies_is_an_error() -> None:
    for replies in (b"HD\r\n", b"STORED\r\nSTORED\r\n", b"DELETED\r\n", b"MN\r\n"):
        batch = batch_of([b"a"], Route(Tally(), target_meta=False))
        fetched(batch, meta_item(b"a"))
        with pytest.raises(ProtocolError):
            hear(batch, STORE, replies)


def test_bounds_are_kept() -> None:
    batch = batch_of([b"a"], Route(Tally()))
    for start, end in ((0, 5), (3, 2)):
        with pytest.raises(IndexError):
            batch.hear(ASK, b"MN\r\n", start, end)
