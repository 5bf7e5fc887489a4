"""Replies of servers: the same bytes, whole or cut anywhere, give the same events; compiled and plain agree.

behaviour.md section 5: the proxy never desynchronises. Where a reply is senseless the two need not notice at
the same byte: they are compared after line ends enough to complete any line have been fed.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Protocol

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from memagent._core.reply import ReplyParser as Compiled
from tests.reference.replies import Event
from tests.reference.replies import ReplyParser as Plain


class Parser(Protocol):
    def feed(self, expects: str, data: bytes) -> list[Event]: ...


Make = Callable[[], Parser]
BOTH = pytest.mark.parametrize("make", [Plain, Compiled], ids=["plain", "compiled"])


def events_of(parser: Parser, expects: str, data: bytes, cuts: list[int]) -> list[Event]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    events: list[Event] = []
    for start, end in pairwise(edges):
        events += parser.feed(expects, data[start:end])
        if events and events[-1][0] == "garbage":
            return [*events[:-1], ("garbage",)]
    return events


def settled(parser: Parser, expects: str, data: bytes, cuts: list[int]) -> list[Event]:
    return events_of(parser, expects, data + b"\r\n" * 2100, cuts)


# --- what servers say, nearly say, and never should

keys = st.sampled_from([b"k", b"key:1", b"x" * 250, "é".encode(), b"END", b"VALUE"])
bad_keys = st.sampled_from([b"", b"x" * 251, b"a\tb", b"\x7f"])
numbers = st.sampled_from([b"0", b"1", b"4294967295", b"18446744073709551615"])
bad_numbers = st.sampled_from([b"", b"-1", b"a", b"1x", b"9" * 21, b"+1", b"1\t"])
values = st.binary(max_size=12) | st.sampled_from([b"END\r\n", b"\r\n", b"VALUE k 0 1\r\n"])
lines = st.sampled_from(
    b"STORED,NOT_STORED,EXISTS,NOT_FOUND,DELETED,TOUCHED,OK,VERSION 1.6.18,5,18446744073709551615,9  ,ERROR,"
    b"ERROR too many,CLIENT_ERROR bad,SERVER_ERROR out of memory storing object".split(b",")
).map(lambda line: line + b"\r\n")
bad_lines = st.sampled_from(
    b"STORED\n,stored\r\n,STORED \r\n,\r\n,\n,END \r\n,VALUE\r\n,5a\r\n,ERRORS\r\n,EN,E\r\n,V\r\n".split(b",")
    + [b"SERVER_ERROR " + b"x" * length + b"\r\n" for length in (4080, 4081, 4082)]
)


@st.composite
def item(draw: st.DrawFn, faults: bool = False) -> bytes:
    value = draw(values)
    tokens = [b"VALUE", draw(keys), draw(numbers), b"%d" % len(value)]
    if draw(st.booleans()):
        tokens.append(draw(numbers))
    end = b"\r\n"
    if faults:
        fault = draw(st.integers(-1, len(tokens) + 1))
        if 0 <= fault < len(tokens):
            tokens[fault] = draw(st.one_of(bad_keys, bad_numbers, numbers))
        elif fault == len(tokens):
            tokens.append(draw(numbers))
        end = draw(st.sampled_from([b"\r\n", b"\r\n", b"\n", b"xx"]))
    return b" ".join(tokens) + b"\r\n" + value + end


replies = st.lists(item(), max_size=4).map(lambda items: b"".join(items) + b"END\r\n")
bad_replies = st.builds(
    lambda items, end: b"".join(items) + end,
    st.lists(st.one_of(item(), item(faults=True)), max_size=3),
    st.sampled_from([b"END\r\n", b"", b"END", b"SERVER_ERROR x\r\n", b"STORED\r\n", b"END\n", b"\r\n"]),
)
flags = st.lists(
    st.sampled_from(
        b"t-1,t30,f0,c18446744073709551615,c99999999999999999999,s5,kkey:1,b,W,O7,h0,,t,-,t-".split(b",")
    ),
    max_size=4,
)
codes = st.sampled_from(b"HD,EN,NF,NS,EX,ME,ME exp=-1 la=2,VA,MN,HDX,hd,H,E".split(b","))
meta = st.builds(
    lambda code, flags, value: (
        b" ".join([code, *([] if value is None else [b"%d" % len(value)]), *flags])
        + b"\r\n"
        + (b"" if value is None else value + b"\r\n")
    ),
    codes,
    flags,
    st.none() | values,
)
bad_meta = st.sampled_from(
    [
        *b"VA\r\n,VA x\r\n,VA -1\r\n,VA 1x\r\na\r\n,VA 2 t1\r\na\r\n,VA  2\r\nab\r\n,ME\r\n,EN\n".split(b","),
        *(b"VA %d\r\n" % size for size in (134217708, 134217729, 10**30)),
        b"VA 00000000000000000000002\r\nab\r\n",
    ]
)
meta_streams = st.lists(
    st.one_of(
        st.builds(
            lambda flags, value: b" ".join([b"VA", b"%d" % len(value), *flags]) + b"\r\n" + value + b"\r\n",
            flags,
            values,
        ),
        meta,
        meta,
        bad_meta,
        lines,
    ),
    max_size=6,
).map(b"".join)
streams = st.lists(
    st.one_of(replies, replies, lines, lines, bad_replies, bad_lines, st.binary(max_size=20)), max_size=6
).map(b"".join)
kinds = st.sampled_from(["line", "values"])


@settings(max_examples=800)
@given(kinds, streams, st.lists(st.integers(0, 1 << 16), max_size=6))
@example("values", b"VALUE k 0 3\r\nabcEND\r\n", [])
@example("values", b"VALUE k 0 1\r\nx\r\nSERVER_ERROR out of memory writing get response\r\nEND\r\n", [3])
def test_compiled_and_plain_agree_whole_and_cut(expects: str, stream: bytes, cuts: list[int]) -> None:
    expected = settled(Plain(), expects, stream, [])
    assert settled(Compiled(), expects, stream, []) == expected
    assert settled(Plain(), expects, stream, cuts) == expected
    assert settled(Compiled(), expects, stream, cuts) == expected


@settings(max_examples=800)
@given(st.one_of(meta_streams, streams), st.lists(st.integers(0, 1 << 16), max_size=6))
@example(b"VA 3 t-1 c9\r\nabcHD\r\n", [])
@example(b"VA 0\r\n\r\nHD \r\nEN O1 kk\r\n", [9])
def test_compiled_and_plain_agree_on_meta_replies(stream: bytes, cuts: list[int]) -> None:
    expected = settled(Plain(), "meta", stream, [])
    assert settled(Compiled(), "meta", stream, []) == expected
    assert settled(Plain(), "meta", stream, cuts) == expected
    assert settled(Compiled(), "meta", stream, cuts) == expected


@settings(max_examples=300)
@given(kinds, st.lists(st.one_of(replies, lines), max_size=5).map(b"".join))
def test_byte_by_byte_is_the_same(expects: str, stream: bytes) -> None:
    everywhere = list(range(len(stream)))
    assert events_of(Compiled(), expects, stream, everywhere) == events_of(Plain(), expects, stream, [])


@settings(max_examples=200)
@given(st.lists(replies, max_size=6))
def test_raw_replies_joined_are_the_stream(stream: list[bytes]) -> None:
    events = Compiled().feed("values", b"".join(stream))
    assert [event[:2] for event in events] == [("values", reply) for reply in stream]


@BOTH
def test_lines(make: Make) -> None:
    assert make().feed("line", b"STORED\r\n18 \r\nSERVER_ERROR out of memory\r\nOK\r") == [
        ("line", b"STORED\r\n"), ("line", b"18 \r\n"), ("line", b"SERVER_ERROR out of memory\r\n"),
    ]  # fmt: skip


@BOTH
def test_values(make: Make) -> None:
    found = b"VALUE a 5 2\r\n\r\n\r\nVALUE b 0 0 77\r\n\r\nEND\r\n"
    items = ((b"a", b"5", b"\r\n", None), (b"b", b"0", b"", b"77"))
    assert make().feed("values", found + b"END\r\nERROR\r\nEN") == [
        ("values", found, items), ("values", b"END\r\n", ()), ("line", b"ERROR\r\n"),
    ]  # fmt: skip


@BOTH
def test_meta(make: Make) -> None:
    found = b"VA 4 t-1 c18446744073709551615 f7 Ox kabc\r\n\r\n\r\n\r\n"
    words = (b"t-1", b"c18446744073709551615", b"f7", b"Ox", b"kabc")
    assert make().feed("meta", found + b"HD\r\nEN O12 k1\r\nME k exp=-1\r\nERROR\r\nVA 1\r\nx\r") == [
        ("meta", found, words, {"t": -1, "c": -1, "f": 7}, b"\r\n\r\n"),
        ("meta", b"HD\r\n", (), {}, None),
        ("meta", b"EN O12 k1\r\n", (b"O12", b"k1"), {"O": 12, "k": 1}, None),
        ("meta", b"ME k exp=-1\r\n", (b"k", b"exp=-1"), {}, None),
        ("line", b"ERROR\r\n"),
    ]


@BOTH
@pytest.mark.parametrize(
    ("expects", "data"),
    [
        ("line", b"STORED\n"),
        ("line", b"x" * 4096),
        ("values", b"STORED\r\n"),
        ("values", b"VALUE k 0 1\r\nxyEND\r\n"),
        ("values", b"VALUE k 0 -1\r\n"),
        ("values", b"VALUE k 0 99999999999999999999999\r\n"),
        ("values", b"VALUE " + b"k" * 251 + b" 0 1\r\nx\r\nEND\r\n"),
        ("values", b"VALUE  0 1\r\nx\r\nEND\r\n"),
        ("values", b"VALUE k 0 1 2 3\r\nx\r\nEND\r\n"),
        ("values", b"VALUE k 0 1\nx\r\nEND\r\n"),
        ("values", b"VALUE k 0 1\r\nx\r\nSERVER_ERROR out of memory\r\n"),
        ("meta", b"END\r\n"),
        ("meta", b"HD\n"),
        ("meta", b"VA\r\n"),
        ("meta", b"VA -1\r\n"),
        ("meta", b"VA 134217729\r\n"),
        ("meta", b"VA 1\r\nxyHD\r\n"),
    ],
)
def test_garbage(make: Make, expects: str, data: bytes) -> None:
    """Section 5: never desynchronises: what cannot be followed ends that connection."""
    events = make().feed(expects, data)
    assert [event[0] for event in events] == ["garbage"]
    assert isinstance(events[0][1], str)
    assert events[0][1]
