"""The line before an item's value."""

import pytest

from memagent._core.fetched import read_item
from memagent.errors import ProtocolError


def test_the_flags_of_mg_come_in_any_order() -> None:
    for line in (b"VA 3 kkey f5 t-1 c7", b"VA 3 c7 t-1 f5 kkey", b"VA 3 f5 t-1 c7 s3 h1 kkey"):
        item = read_item(line)
        assert (item["key"], item["length"], item["flags"], item["ttl_s"], item["cas"]) == (
            b"key",
            3,
            5,
            -1,
            7,
        )
        assert (item["is_binary"], item["is_stale"], item["won"], item["opaque"]) == (False, False, False, -1)


def test_words_of_one_letter_say_what_the_item_is() -> None:
    item = read_item(b"VA 0 kZm9v b f0 t9 c1 W X O17")
    assert (item["is_binary"], item["is_stale"], item["won"], item["opaque"]) == (True, True, True, 17)
    assert item["ttl_s"] == 9


@pytest.mark.parametrize(("text", "ttl_s"), [(b"0", 0), (b"2147483647", 2**31 - 1), (b"4294967295", 0)])
def test_less_than_no_time_is_none(text: bytes, ttl_s: int) -> None:
    assert read_item(b"VA 0 f0 t%b c1" % text)["ttl_s"] == ttl_s


def test_a_value_line_says_the_same() -> None:
    item = read_item(b"VALUE key 4294967295 3 18446744073709551615", meta=False)
    assert (item["key"], item["flags"], item["length"], item["cas"]) == (b"key", 2**32 - 1, 3, 2**64 - 1)
    assert read_item(b"VALUE key 0 3", meta=False)["cas"] == 0


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"VA",
        b"VA ",
        b"VA x f0 t0 c0",
        b"VA 1",
        b"VA 1 f0 t0",
        b"VA 1 f0 t0 c",
        b"VA 1 f0 t- c0",
        b"VA 1  f0 t0 c0",
        b"VA 1 f0 t0 c0 ",
        b"VA 999999999 f0 t0 c0",
        b"HD f0 t0 c0",
        b"VA 1f0 t0 c0",
    ],
)
def test_what_mg_cannot_say(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_item(line)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"VALUE",
        b"VALUE ",
        b"VALUE key",
        b"VALUE key 0",
        b"VALUE key x 1",
        b"VALUE key 0 x",
        b"VALUE key 0 1 ",
        b"VALUE key 0 1 x",
        b"VALUE key 0 1 1 1",
        b"VALUE key 0 999999999",
        b"VALUE key 0 1x",
        b"VA 1 f0 t0 c0",
    ],
)
def test_what_gets_cannot_say(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_item(line, meta=False)
