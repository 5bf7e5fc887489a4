"""The keys that a server lists: what is kept of them, and what no server can say."""

import base64
import contextlib
import random

import pytest

from memagent._core.copies import Route, Tally
from memagent._core.listing import Listing
from memagent._core.ring import Placement
from memagent.errors import ProtocolError
from tests.support.warming import PLACEMENT, listed, mgdump

KEYS = [b"a", b"k" * 250, b"key:1", b"\xc3\xa9t\xc3\xa9", b"100%", b"a=b"]
SERVERS = [("", "127.0.0.1", port, 1) for port in (1, 2, 3)]
BACKUPS = [("", "127.0.0.1", port, 1) for port in (4, 5)]


def feed(listing: Listing, data: bytes, piece_bytes: int) -> None:
    for start in range(0, len(data), piece_bytes):
        listing.feed(data, start, min(len(data), start + piece_bytes))


def requested(listing: Listing) -> list[bytes]:
    """What would be asked of the source for the keys that wait."""
    return listing.take(Route(Tally()), 10_000).fetch().split(b"\r\n")[:-1]


def keys_of(listing: Listing) -> list[bytes]:
    found = []
    for line in requested(listing):
        words = line.split(b" ")
        found.append(base64.b64decode(words[1]) if words[-1] == b"b" else words[1])
    return found


def metadump(keys: list[bytes], more: bytes = b"exp=-1 la=1795381959 cas=7 fetch=no cls=1 size=67") -> bytes:
    def quoted(key: bytes) -> bytes:
        return b"".join(b"%c" % c if chr(c).isascii() and chr(c).isalnum() else b"%%%02X" % c for c in key)

    return b"".join(b"key=%b %b\n" % (quoted(key), more) for key in keys) + b"END\r\n"


@pytest.mark.parametrize("data", [mgdump(KEYS), metadump(KEYS), b"OK\r\n" + mgdump(KEYS)])
@pytest.mark.parametrize("piece_bytes", [0, 1, 2, 7, 300])
def test_every_key_is_read_however_the_list_is_cut(data: bytes, piece_bytes: int) -> None:
    listing = Listing(PLACEMENT, 0, 1, Tally())
    feed(listing, data, piece_bytes or len(data))
    assert listing.ended
    assert listing.refusal is None
    assert listing.waiting == len(KEYS)
    assert keys_of(listing) == KEYS
    assert (listing.waiting, listing.waiting_bytes) == (0, 0)


def test_keys_that_no_line_can_carry_are_asked_for_in_base64() -> None:
    keys = [b"a b", b"\x00", b"\r\n", b"x" * 187, b"\x7f"]
    for data in (mgdump(keys, binary=True), metadump(keys)):
        assert keys_of(listed(data)) == keys
    # Only their listing says that these came as base64; they go back as they came.
    assert requested(listed(mgdump([b"foo"], binary=True))) == [b"mg Zm9v v f t c u k b"]
    assert requested(listed(mgdump([b"foo"]))) == [b"mg foo v f t c u k"]


def test_a_key_is_kept_if_source_and_target_are_its_two_holders() -> None:
    keys = [b"key:%d" % i for i in range(500)]
    with_backups = Placement(SERVERS, BACKUPS, "ketama", "md5")
    for target, source in [(0, 3), (0, 4), (2, 3), (3, 0), (4, 2), (0, 1), (3, 4)]:
        expected = [
            key
            for key in keys
            if {target, source} == {with_backups.locate(key)[0], 3 + with_backups.locate(key)[1]}
        ]
        listing = listed(mgdump(keys), with_backups, target, source)
        assert keys_of(listing) == expected, (target, source)
        assert bool(expected) == ((target < 3) != (source < 3))


def test_with_two_copies_both_roles_count() -> None:
    keys = [b"key:%d" % i for i in range(500)]
    placement = Placement(SERVERS, [], "ketama", "md5", copies=2)
    tally = Tally()
    for target, source in [(0, 1), (1, 0), (2, 0)]:
        listing = Listing(placement, target, source, tally)
        data = mgdump(keys)
        listing.feed(data, 0, len(data))
        found = keys_of(listing)
        assert found == [key for key in keys if set(placement.locate(key)) == {target, source}]
        roles = {placement.locate(key).index(target) for key in found}
        assert roles == {0, 1}
    assert tally.listed == 1500
    assert 0 < tally.kept < 1500


def test_without_copies_nothing_is_kept() -> None:
    placement = Placement(SERVERS, [], "ketama", "md5")
    assert listed(mgdump([b"%d" % i for i in range(100)]), placement).waiting == 0


def test_keys_are_taken_in_their_order() -> None:
    keys = [b"key:%d" % i for i in range(1000)]
    listing = listed(mgdump(keys))
    route = Route(Tally())
    first = listing.take(route, 300)
    assert (len(first), listing.waiting) == (300, 700)
    assert keys_of(listing) == keys[300:]
    assert len(listing.take(route, 5)) == 0


@pytest.mark.parametrize(
    ("data", "locked"),
    [
        (b"BUSY currently processing crawler request\r\n", True),
        (b"OK\r\nERROR locked try again later\r\n", True),
        (b"ERROR\r\n", False),
        (b"ERROR metadump not allowed\r\n", False),
        (b"CLIENT_ERROR lru crawler disabled\r\n", False),
        (b"SERVER_ERROR out of memory\r\n", False),
        (b"BADCLASS invalid class id\r\n", False),
    ],
)
def test_a_refusal_says_whether_to_come_back(data: bytes, locked: bool) -> None:
    listing = listed(data)
    assert listing.ended
    assert listing.refusal == data.decode().splitlines()[-1]
    assert listing.is_locked == locked
    listing.begin()
    listing.feed(mgdump(KEYS), 0, len(mgdump(KEYS)))
    assert (listing.refusal, listing.waiting) == (None, len(KEYS))


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"mg \r\n",
        b"mg two words\r\n",
        b"mg " + b"k" * 251 + b"\r\n",
        b"mg === b\r\n",
        b"mg Zm9 b\r\n",
        b"mg " + base64.b64encode(b"k" * 251) + b" b\r\n",
        b"key=\n",
        b"key=a\n",
        b"key= exp=1\n",
        b"key=" + b"k" * 251 + b" exp=-1\n",
        b"\r\n",
        b"OK\r\nOK\r\n",
        b"EN\r\nmg a\r\n",
        b"x" * 5000,
        b"key=" + b"k" * 5000 + b"\n",
        b"\x00\xff" * 100 + b"\n",
    ],
)
@pytest.mark.parametrize("piece_bytes", [1, 10_000])
def test_what_no_server_says_is_an_error_and_not_a_crash(data: bytes, piece_bytes: int) -> None:
    with pytest.raises(ProtocolError):
        feed(Listing(PLACEMENT, 0, 1, Tally()), data, piece_bytes)


def test_noise_never_does_worse_than_an_error() -> None:
    noise = random.Random(1)
    good = metadump(KEYS) + mgdump(KEYS, binary=True)
    for _ in range(2000):
        data = bytearray(good)
        for _ in range(noise.randint(1, 8)):
            data[noise.randrange(len(data))] = noise.randrange(256)
        listing = Listing(PLACEMENT, 0, 1, Tally())
        with contextlib.suppress(ProtocolError):
            listing.feed(data, 0, len(data))
        listing.take(Route(Tally()), 100).fetch()


def test_bounds_are_kept() -> None:
    with pytest.raises(IndexError):
        Listing(PLACEMENT, 0, 1, Tally()).feed(b"mg a\r\n", 0, 7)


def test_of_the_target_itself_are_kept_the_keys_that_another_server_owns() -> None:
    """Whatever it is, it is not what its owner has: left over, or not there yet."""
    seats = [(f"s{number}", "127.0.0.1", 11211, 1) for number in range(3)]
    former = Placement(seats[:2], [], "ketama", "md5")
    moving = Placement(seats, [], "ketama", "md5", former=former, former_places=[0, 1])
    keys = [b"k%d" % number for number in range(100)]
    listing = Listing(moving, 2, 2, Tally())
    text = b"".join(b"mg %b\r\n" % key for key in keys) + b"EN\r\n"
    listing.feed(text, 0, len(text))
    wanted = [key for key in keys if moving.locate(key)[1] == 2]
    assert 10 < listing.waiting == len(wanted) < 90
    tally = Tally()
    batch = listing.take(Route(tally), 1000)
    batch.condemn()
    assert batch.clear() == b"".join(b"md %b q\r\n" % key for key in wanted) + b"mn\r\n"
    assert (tally.gone, tally.copied) == (len(wanted), 0)
