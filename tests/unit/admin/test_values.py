"""What a value looks like, by its first bytes."""

import gzip
import pickle
import zlib

import pytest

from memagent.admin.values import kind_of

KNOWN = [
    *((pickle.dumps([1], protocol), f"Python pickle, protocol {protocol}") for protocol in range(2, 6)),
    (b'a:2:{i:0;s:1:"x";i:1;b:1;}', "PHP serialisation"),
    (b'O:8:"App\\User":1:{s:2:"id";i:1;}', "PHP serialisation of App\\User"),
    (b's:5:"hello";', "PHP serialisation"),
    (b"i:42;", "PHP serialisation"),
    (b"\x00\x00\x00\x02\x14\x00", "PHP igbinary"),
    (b"\xac\xed\x00\x05sr\x00\x11java.util.HashMap\x05\x07", "Java serialisation of java.util.HashMap"),
    (b"\xac\xed\x00\x05t\x00\x02hi", "Java serialisation"),
    (b"\xac\xed\x00\x05sr", "Java serialisation"),
    (b"\xac\xed\x00\x05sr\xff\xff\xff<b>", "Java serialisation of \\xff<b>"),
    (gzip.compress(b"x"), "gzip"),
    (zlib.compress(b"x"), "zlib"),
    (b"\x04\x08[\x06i\x06", "Ruby Marshal"),
]


@pytest.mark.parametrize(("start", "kind"), KNOWN, ids=[kind for _, kind in KNOWN])
def test_what_is_known(start: bytes, kind: str):
    assert kind_of(start) == kind


@pytest.mark.parametrize(
    "start",
    [b"", b"a", b"\x80", b"\x80\x09", b"hello", b'{"a": 1}', b"a:b", b"\xac\xed", b"123", b"\x00" * 9],
)
def test_what_is_not(start: bytes):
    assert kind_of(start) is None
