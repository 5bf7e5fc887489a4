"""Addresses as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memagent.addresses import Address, parse_address, parse_host, parse_listen

GOOD = {
    "10.0.0.1": Address("10.0.0.1", 11211),
    "10.0.0.1:11212": Address("10.0.0.1", 11212),
    "cache-1.example": Address("cache-1.example", 11211),
    "cache_1": Address("cache_1", 11211),
    "localhost:1": Address("localhost", 1),
    "[::1]": Address("::1", 11211),
    "[2001:db8::1]:65535": Address("2001:db8::1", 65535),
    "[fe80::1%eth0]:5": Address("fe80::1%eth0", 5),
    "unix:/run/mc.sock": Address("/run/mc.sock", 0, "/run/mc.sock"),
}

LOOPBACK = {
    "127.0.0.1:1": True,
    "127.255.0.1:1": True,
    "[::1]:1": True,
    "LOCALHOST.:1": True,
    "0.0.0.0:1": False,
    "[::]:1": False,
    "10.0.0.1:1": False,
    "localhost.example:1": False,
    "unix:/run/mc.sock": False,
}

BAD = {
    "": "empty address",
    "10.0.0.7:99999": "port must be 1-65535",
    "10.0.0.7:0": "port must be 1-65535",
    "10.0.0.7:": "port must be 1-65535",
    "10.0.0.7:x": "port must be 1-65535",
    "10.0.0.7:-1": "port must be 1-65535",
    "10.0.0.7:\uff11": "port must be 1-65535",
    ":11211": "the host is missing",
    "10.0.0.999": "not an IPv4 address",
    "10.0.0": "not an IPv4 address",
    "010.0.0.1": "not an IPv4 address",
    "::1": r'needs brackets: write "\[::1\]:11211"',
    "2001:db8::1": "needs brackets",
    "[::1": r"\[address\]:port",
    "[::1]x": r"\[address\]:port",
    "[::g]:1": "not an IPv6 address",
    "[10.0.0.1]:1": "not an IPv6 address",
    "a:b:c": "too many colons",
    "10.0.0.1:11211:2": r'write {address: "10.0.0.1:11211", weight: 2}',
    "10.0.0.1:11211:2 one": 'weight: 2, name: "one"',
    "tcp://10.0.0.1:1": "no scheme",
    "/run/mc.sock": 'written "unix:/run/mc.sock"',
    "unix:mc.sock": "must be absolute",
    "unix:": "must be absolute",
    "unix:/run/": "must name a file",
    "unix:/" + "x" * 107: "at most 107 bytes",
    "unix:/a\0b": "control character",
    "a b": "not a host name",
    "-a": "not a host name",
    "a..b": "not a host name",
    "é": "not a host name",
    "\ud800": "not a host name",
    "x" * 64: "not a host name",
}


@pytest.mark.parametrize(("text", "address"), GOOD.items())
def test_good(text, address):
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(("text", "says"), BAD.items())
def test_bad(text, says):
    with pytest.raises(ValueError, match=says):
        parse_address(text)


def test_the_longest_unix_path():
    assert parse_address("unix:/" + "x" * 106).path == "/" + "x" * 106


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("11211", Address("0.0.0.0", 11211)),
        ("0.0.0.0:1", Address("0.0.0.0", 1)),
        ("[::]:11211", Address("::", 11211)),
        ("unix:/s", Address("/s", 0, "/s")),
    ],
)
def test_listen(text, address):
    assert parse_listen(text) == address


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0", "port must be"),
        ("70000", "port must be"),
        ("localhost", "port is missing"),
        ("[::1]", "port is missing"),
        ("*:11211", '"0.0.0.0:PORT"'),
    ],
)
def test_bad_listen(text, says):
    with pytest.raises(ValueError, match=says):
        parse_listen(text)


@pytest.mark.parametrize("text", ["::1", "[::1]"])
def test_a_host_alone_needs_no_brackets(text):
    assert parse_host(text) == "::1"


@given(st.text(alphabet=st.sampled_from("a1.:[]/%-_ux é\0")) | st.text())
def test_random_text_is_an_address_or_a_value_error(text):
    for parse in (parse_address, parse_listen):
        try:
            address = parse(text)
        except ValueError:
            continue
        assert parse(str(address)) == address


@pytest.mark.parametrize(("text", "expected"), LOOPBACK.items())
def test_loopback(text: str, expected: bool):
    assert parse_listen(text).is_loopback is expected
