"""A token in a cookie, and whose page a request is from."""

import pytest

from memagent.addresses import parse_listen
from memagent.admin.session import cookie_name, forget, is_tls, keep, site_of, token_in

NAME = "memagent-8411"


def test_the_name_tells_proxies_of_one_machine_apart():
    assert cookie_name(parse_listen("127.0.0.1:8411")) == NAME
    assert cookie_name(parse_listen("unix:/x")) == "memagent"


@pytest.mark.parametrize("token", ["act", "sésame", 'a;b=c, "d"', "x" * 300])
def test_a_token_comes_back_as_it_was(token: str):
    header = keep(NAME, token.encode(), is_tls=False)
    pair, *rules = header.split("; ")
    assert rules == ["Path=/", "HttpOnly", "SameSite=Strict"]
    assert token_in(f"other=1; {pair}; more".encode(), NAME) == token.encode()
    assert token_in(pair.encode(), "memagent-1") is None
    assert keep(NAME, b"act", is_tls=True).endswith("; Secure")


@pytest.mark.parametrize(
    "header", [None, b"", b"memagent-8411", b"memagent-8411=*", b"memagent-8411=abc", b";=;"]
)
def test_what_is_no_token(header: bytes | None):
    assert not token_in(header, NAME)


def test_logging_out():
    assert forget(NAME).startswith(f"{NAME}=; ")
    assert "Max-Age=0" in forget(NAME)


@pytest.mark.parametrize(
    ("headers", "site"),
    [
        ({}, "unknown"),
        ({b"sec-fetch-site": b"same-origin"}, "own"),
        ({b"sec-fetch-site": b"same-site", b"origin": b"http://h:1", b"host": b"h:1"}, "foreign"),
        ({b"sec-fetch-site": b"cross-site"}, "foreign"),
        ({b"sec-fetch-site": b"none"}, "foreign"),
        ({b"origin": b"http://h:1", b"host": b"h:1"}, "own"),
        ({b"origin": b"https://h", b"host": b"h"}, "own"),
        ({b"origin": b"http://h:2", b"host": b"h:1"}, "foreign"),
        ({b"origin": b"null", b"host": b"h:1"}, "foreign"),
        ({b"origin": b"http://evil"}, "foreign"),
    ],
)
def test_whose_page_it_is(headers: dict[bytes, bytes], site: str):
    assert site_of(headers) == site


def test_tls_is_what_the_browser_says():
    assert is_tls({b"origin": b"https://h"})
    assert not is_tls({b"origin": b"http://h"})
    assert not is_tls({})
