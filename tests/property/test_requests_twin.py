"""Requests: the same bytes, whole or cut anywhere, give the same events; compiled and plain agree.

behaviour.md section 2 (verbs), section 5 (key, request line and value limits).
"""

import base64
from collections.abc import Callable
from itertools import pairwise
from typing import Protocol

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from memagent._core.request import RequestParser as Compiled
from tests.reference.requests import Event
from tests.reference.requests import RequestParser as Plain

MAX_ITEM_BYTES = 100


class Parser(Protocol):
    def feed(self, data: bytes) -> list[Event]: ...


PARSERS: list[Callable[[int], Parser]] = [Plain, Compiled]


def in_pieces(parser: Parser, data: bytes, cuts: list[int]) -> list[Event]:
    """The events of all pieces; nothing is fed behind a fatal one: the connection is closed then."""
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    events: list[Event] = []
    for start, end in pairwise(edges):
        events += parser.feed(data[start:end])
        if events and events[-1][0] == "fatal":
            break
    return events


# --- what clients send, nearly send, and never should

keys = st.one_of(
    st.sampled_from([b"k", b"key:1", b"noreply", b"0", b"x" * 250]),
    st.binary(min_size=1, max_size=12).map(lambda raw: bytes(c for c in raw if c > 32 and c != 127) or b"k"),
)
bad_keys = st.sampled_from([b"x" * 251, b"k\x01", b"k\t", b"\x7f", b"a\0b", b"k\r"])
good_numbers = st.one_of(
    st.sampled_from([b"0", b"1", b"10", b"+5", b"007", b"4294967295", b"18446744073709551615"]),
    st.integers(0, 120).map(lambda n: b"%d" % n),
)
bad_numbers = st.sampled_from(
    [
        *b"a -1 1x 0x1 + - +-1 -+1 --1 1\t 3\0 noreply 2147483645 2147483646 4294967299".split(b" "),
        *b"9223372036854775807 9223372036854775808 18446744073709551616".split(b" "),
        *b"-9223372036854775808 -9223372036854775809".split(b" "),
        *(b"0" * 64, b"0" * 65, b"9" * 25),
    ]
)
words = st.one_of(
    keys, bad_keys, good_numbers, bad_numbers, st.sampled_from([b"noreply", b"foo", b"NOREPLY"])
)
spaces = st.sampled_from([b" ", b" ", b" ", b"  ", b"     "])
line_ends = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b" \r\n", b"\r\r\n"])
values = st.binary(max_size=20) | st.sampled_from([b"", b"\r\n", b"a\r\nb", b"x" * 100, b"x" * 101])
VERBS = (
    b"get gets gat gats set add replace append prepend cas incr decr delete touch flush_all version verbosity"
    b" stats quit mn mg ms md ma me"
).split()
verbs = st.sampled_from(
    [*VERBS, *VERBS, b"GET", b"sets", b"bget", b"mk", b"Mg", b"flush", b"quit\0", b"\tget"]
)


good_flags = st.one_of(
    st.sampled_from(b"c f h k l q s t u v x I Oabc Ppath Lpath T0 T-1 N30 R10 F7 C5 E9 MS J1 D2 qoo".split()),
    st.integers(0, 2**64 - 1).map(lambda n: b"C%d" % n),
)
bad_flags = st.sampled_from(
    [
        *b"T Tx T1x F F-1 C C-1 E Ex M MSS MZ ME MI MD M+ M- N Nx R Jx J-1 D Dx".split(),
        *b"! !! 1 @ @ { { ~ Y Zz \x80 v\x01 O\0".split(),
        *(b"O" + b"o" * length for length in (31, 32, 99)),
        *(b"P" + b"p" * length for length in (700, 900, 1590, 1600)),
        b"v\t",
    ]
)
base64_keys = st.one_of(
    st.binary(min_size=1, max_size=9).map(base64.b64encode),
    st.sampled_from(
        [b"aw==", b"Cg==", b"Zm9v!", b"Z-m_9v", b"====", b"A===", b"AAA=AAAA", b"=AAA", b"a2tr" * 62, b"a"]
    ),
)


@st.composite
def meta(draw: st.DrawFn, faults: bool = True) -> bytes:
    verb = draw(st.sampled_from([b"mg", b"ms", b"md", b"ma", b"me"]))
    binary = draw(st.booleans())
    tokens = [verb, draw(base64_keys if binary else keys)]
    value = draw(values)
    if verb == b"ms":
        tokens.append(b"%d" % len(value))
    flags = draw(
        st.lists(
            st.one_of(good_flags, good_flags, good_flags, bad_flags) if faults else good_flags,
            max_size=20 if faults else 8,
            unique_by=None if faults and draw(st.booleans()) else lambda flag: flag[:1],
        )
    )
    if binary:
        flags.insert(draw(st.integers(0, len(flags))), b"b")
    tokens += flags
    if faults and draw(st.integers(0, 5)) == 0:
        tokens[draw(st.integers(1, len(tokens) - 1))] = draw(words)
    line = draw(spaces).join(tokens) if faults else b" ".join(tokens)
    end = draw(st.sampled_from([b"\r\n", b"\r\n", b"xx", b"\n"])) if faults else b"\r\n"
    return line + b"\r\n" + (value + end if verb == b"ms" else b"")


@st.composite
def valid(draw: st.DrawFn) -> bytes:
    verb = draw(st.sampled_from(VERBS))
    noreply = [b"noreply"] if draw(st.booleans()) else []
    if verb in (b"get", b"gets"):
        tokens = draw(st.lists(keys, min_size=1, max_size=6))
    elif verb in (b"gat", b"gats"):
        tokens = [b"%d" % draw(st.integers(-1, 99)), *draw(st.lists(keys, min_size=1, max_size=6))]
    elif verb in (b"set", b"add", b"replace", b"append", b"prepend", b"cas"):
        value = draw(values)
        unique = [b"%d" % draw(st.integers(0, 2**64 - 1))] if verb == b"cas" else []
        flags = b"%d" % draw(st.integers(0, 2**32 - 1))
        exptime = b"%d" % draw(st.integers(-1, 2**31 - 1))
        tokens = [draw(keys), flags, exptime, b"%d" % len(value), *unique, *noreply]
        return verb + b" " + b" ".join(tokens) + b"\r\n" + value + b"\r\n"
    elif verb in (b"incr", b"decr"):
        tokens = [draw(keys), b"%d" % draw(st.integers(0, 2**64 - 1)), *noreply]
    elif verb == b"touch":
        tokens = [draw(keys), b"%d" % draw(st.integers(-1, 99)), *noreply]
    elif verb == b"delete":
        tokens = [draw(keys), *([b"0"] if draw(st.booleans()) else []), *noreply]
    elif verb == b"flush_all":
        tokens = [*([b"10"] if draw(st.booleans()) else []), *noreply]
    elif verb == b"verbosity":
        tokens = [b"1", *noreply]
    elif verb in (b"mg", b"md", b"ma", b"me"):
        tokens = [draw(keys), *draw(st.sampled_from([b"", b"q", b"v q k", b"T0 O1 c"])).split()]
    elif verb == b"ms":
        value = draw(values)
        return b"ms %b %d c q T5\r\n%b\r\n" % (draw(keys), len(value), value)
    else:
        tokens = []
    return b" ".join([verb, *tokens]) + b"\r\n"


@st.composite
def nearly_valid(draw: st.DrawFn) -> bytes:
    """A verb with tokens that may be wrong in number, order and kind; a block of about the right length."""
    tokens = [draw(verbs), *draw(st.lists(words, max_size=7))]
    line = b"".join(draw(spaces) + token for token in tokens)
    if draw(st.booleans()):
        line = line.lstrip(b" ")
    block = (
        draw(values) + draw(st.sampled_from([b"\r\n", b"\n", b"", b"x\r\n"])) if draw(st.booleans()) else b""
    )
    return line + draw(line_ends) + block


@st.composite
def storage_with_one_fault(draw: st.DrawFn) -> bytes:
    verb = draw(st.sampled_from([b"set", b"add", b"replace", b"append", b"prepend", b"cas"]))
    value = draw(values)
    tokens = [draw(keys), b"1", b"0", b"%d" % len(value)] + ([b"7"] if verb == b"cas" else [])
    if draw(st.booleans()):
        tokens.append(b"noreply")
    fault = draw(st.integers(-1, len(tokens)))
    if fault == len(tokens):
        tokens.append(draw(words))
    elif fault >= 0:
        tokens[fault] = draw(words)
    end = draw(st.sampled_from([b"\r\n", b"\r\n", b"xx", b"\n", b"\r"]))
    return verb + b" " + b" ".join(tokens) + b"\r\n" + value + end


long_lines = st.builds(
    lambda lead, verb, filler, count, end: b" " * lead + verb + (filler * 4200)[:count] + end,
    st.sampled_from([0, 0, 1, 4000, 4090, 4091, 4092, 4096]),
    st.sampled_from([b"get ", b"gets ", b"gat 0 ", b"touch ", b"set k ", b"", b"get", b"foo "]),
    st.sampled_from([b" ", b"k ", b"abcdefg ", b"x"]),
    st.one_of(st.integers(0, 8), st.integers(4080, 4100)),
    st.sampled_from([b"\r\n", b"\n", b"k\r\n", b""]),
)
garbage = st.one_of(st.binary(max_size=60), st.text(" \r\n\0getsa019kx", max_size=60).map(str.encode))
streams = st.lists(
    st.one_of(
        valid(),
        valid(),
        nearly_valid(),
        nearly_valid(),
        storage_with_one_fault(),
        meta(),
        long_lines,
        garbage,
    ),
    max_size=8,
).map(b"".join)


@settings(max_examples=600)
@given(streams, st.lists(st.integers(0, 1 << 16), max_size=6))
@example(b"set " + b"x" * 251 + b" 0 0 3\r\nxyz\r\nmn\r\n", [260])
@example(b"set k 0 0 3\r\nxyzABmn\r\n", [14])
@example(b"incr n 1 noreply\0\r\n", [])
def test_compiled_and_plain_agree_whole_and_cut(stream: bytes, cuts: list[int]) -> None:
    """Section 5: malformed input never desynchronises."""
    expected = Plain(MAX_ITEM_BYTES).feed(stream)
    assert Compiled(MAX_ITEM_BYTES).feed(stream) == expected
    assert in_pieces(Plain(MAX_ITEM_BYTES), stream, cuts) == expected
    assert in_pieces(Compiled(MAX_ITEM_BYTES), stream, cuts) == expected


@settings(max_examples=800)
@given(
    st.lists(st.one_of(meta(), meta(), valid()), max_size=5).map(b"".join),
    st.lists(st.integers(0, 1 << 16), max_size=6),
)
@example(b"ms k 3 Tx\r\nxyz\r\nmg k q v O1 k\r\nmg Cg== k b v q\r\nme Cg== b\r\n", [15, 20])
def test_compiled_and_plain_agree_on_meta_requests(stream: bytes, cuts: list[int]) -> None:
    expected = Plain(MAX_ITEM_BYTES).feed(stream)
    assert Compiled(MAX_ITEM_BYTES).feed(stream) == expected
    assert in_pieces(Plain(MAX_ITEM_BYTES), stream, cuts) == expected
    assert in_pieces(Compiled(MAX_ITEM_BYTES), stream, cuts) == expected


@settings(max_examples=300)
@given(streams)
def test_byte_by_byte_is_the_same(stream: bytes) -> None:
    stream = stream[:600]
    expected = Plain(MAX_ITEM_BYTES).feed(stream)
    assert in_pieces(Compiled(MAX_ITEM_BYTES), stream, list(range(len(stream)))) == expected


@settings(max_examples=200)
@given(st.lists(valid(), max_size=10))
def test_every_valid_request_is_one_request(requests: list[bytes]) -> None:
    """Section 2: all classic verbs; a value of more than max_item_bytes (section 5) is the only refusal."""
    events = Compiled(MAX_ITEM_BYTES).feed(b"".join(requests))
    assert len(events) == len(requests)
    for event, request in zip(events, requests, strict=True):
        too_large = len(request.partition(b"\n")[2]) > MAX_ITEM_BYTES + 2
        assert (event[0] == "request") is not too_large, (event, request)


@pytest.mark.parametrize("make", PARSERS, ids=["plain", "compiled"])
class TestEvents:
    """The events themselves, so that two parsers cannot be wrong together."""

    def feed(self, make: Callable[[int], Parser], data: bytes) -> list[Event]:
        return make(MAX_ITEM_BYTES).feed(data)

    def test_verbs(self, make: Callable[[int], Parser]) -> None:
        """Section 2."""
        assert self.feed(make, b"get a b a\r\ngats 9 a\n") == [
            ("request", "get", (b"a", b"b", b"a"), (), False, None),
            ("request", "gats", (b"a",), (b"9",), False, None),
        ]
        assert self.feed(make, b"cas k 1 2 3 4 noreply\r\n\r\n\n\r\n") == [
            ("request", "cas", (b"k",), (b"1", b"2", b"3", b"4"), True, b"\r\n\n")
        ]
        assert self.feed(make, b"incr k 5\r\ndecr k 5 noreply\r\ntouch k -1\r\ndelete k 0 noreply\r\n") == [
            ("request", "incr", (b"k",), (b"5",), False, None),
            ("request", "decr", (b"k",), (b"5",), True, None),
            ("request", "touch", (b"k",), (b"-1",), False, None),
            ("request", "delete", (b"k",), (), True, None),
        ]
        no_key = b"flush_all\r\nflush_all 9 noreply\r\nverbosity 1\r\nstats noreply\r\nmn x\r\nquit\r\n"
        assert self.feed(make, no_key) == [
            ("request", "flush_all", (), (), False, None),
            ("request", "flush_all", (), (b"9",), True, None),
            ("request", "verbosity", (), (b"1",), False, None),
            ("request", "stats", (), (b"noreply",), False, None),
            ("request", "mn", (), (b"x",), False, None),
            ("request", "quit", (), (), False, None),
        ]

    def test_meta_verbs(self, make: Callable[[int], Parser]) -> None:
        """Section 2: every flag is passed through but q; the key is the one that a server stores."""
        assert self.feed(make, b"mg k v q  k O1\r\nmd aw== b\r\nma n MD D5 q\r\nme k x q\r\n") == [
            ("request", "mg", (b"k",), (b"k", b"v", b"k", b"O1"), True, None),
            ("request", "md", (b"k",), (b"aw==", b"b"), False, None),
            ("request", "ma", (b"n",), (b"n", b"MD", b"D5"), True, None),
            ("request", "me", (b"k",), (b"k",), False, None),
        ]
        assert self.feed(make, b"ms k 3 T0 ! q\r\nxyz\r\n") == [
            ("request", "ms", (b"k",), (b"k", b"3", b"T0", b"!"), True, b"xyz")
        ]

    def test_meta_refusals(self, make: Callable[[int], Parser]) -> None:
        """Section 5: in memcached's words, never quiet; a known data block is swallowed."""
        for line, reply in {
            b"mg": b"ERROR",
            b"me": b"CLIENT_ERROR bad command line format",
            b"mg k q q": b"CLIENT_ERROR duplicate flag",
            b"md k Tx q": b"CLIENT_ERROR invalid or duplicate flag",
            b"mg " + b"x" * 251 + b" q": b"CLIENT_ERROR bad key",
            b"mg " + b"a2tr" * 63 + b" b": b"CLIENT_ERROR bad key",
            b"mg a b": b"CLIENT_ERROR error decoding key",
            b"mg k O" + b"o" * 32: b"CLIENT_ERROR opaque token too long",
            b"ms k 3 MX\r\nxyz": b"CLIENT_ERROR invalid mode for ms M token",
            b"ms k 3 C-1\r\nxyz": b"CLIENT_ERROR bad token in command line format",
            b"ms k 3 q\r\nxyzAB": b"CLIENT_ERROR bad data chunk",
            b"mg k v\0": b"CLIENT_ERROR bad command line format",
        }.items():
            end = b"" if line.endswith(b"AB") else b"\r\n"
            events = self.feed(make, line + end + b"mn\r\n")
            assert events == [("error", reply + b"\r\n", False), ("request", "mn", (), (), False, None)], line

    def test_key_limit(self, make: Callable[[int], Parser]) -> None:
        """Section 5: 250 bytes, no control character; the data block is swallowed."""
        assert self.feed(make, b"get " + b"x" * 250 + b"\r\n")[0][0] == "request"
        bad = ("error", b"CLIENT_ERROR bad key\r\n", False)
        assert self.feed(make, b"get k " + b"x" * 251 + b" k\r\nget k\r\n") == [
            bad, ("request", "get", (b"k",), (), False, None),
        ]  # fmt: skip
        for key in (b"k\x01", b"k\x7f", b"k\0", b"\t", b"x" * 251):
            assert self.feed(make, b"set " + key + b" 0 0 3\r\nxyz\r\nmn\r\n") == [
                bad, ("request", "mn", (), (), False, None),
            ]  # fmt: skip
        assert self.feed(make, "get é\r\n".encode())[0][0] == "request"

    def test_value_limit(self, make: Callable[[int], Parser]) -> None:
        """Section 5: swallowed; the old value goes where memcached drops it; told before the block comes."""
        reply = b"SERVER_ERROR object too large for cache\r\n"
        assert self.feed(make, b"set k 0 0 100\r\n" + b"x" * 100 + b"\r\n")[0][0] == "request"
        assert self.feed(make, b"set k 0 0 101\r\n") == [("too_large", b"k", reply, False)]
        assert self.feed(make, b"ms k 101 MA q\r\n") == [("too_large", b"k", reply, False)]
        assert self.feed(make, b"add k 0 0 101 noreply\r\n" + b"x" * 101 + b"\r\nmn\r\n") == [
            ("error", reply, True),
            ("request", "mn", (), (), False, None),
        ]

    def test_line_limit(self, make: Callable[[int], Parser]) -> None:
        """Section 5: 4 KiB, for get and gets 1 MiB."""
        fatal = [("fatal", b"CLIENT_ERROR line too long\r\n")]
        assert self.feed(make, b"touch k " + b" " * 4085 + b"0\r\n")[0][0] == "request"
        assert self.feed(make, b"touch k " + b" " * 4086 + b"0\r\nmn\r\n") == fatal
        assert self.feed(make, b"x" * 4095) == []
        assert self.feed(make, b"x" * 4096) == fatal
        many = b"get " + b"k " * ((1 << 19) - 3)
        assert self.feed(make, many + b"\r\n")[0][0] == "request"
        assert self.feed(make, many + b" \r\n") == fatal
        assert self.feed(make, many + b"   ") == fatal
