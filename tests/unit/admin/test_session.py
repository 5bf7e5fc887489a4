"""A token in a cookie, and whose page a request is from."""

import pytest

from memagent.addresses import parse_listen
from memagent.admin.auth import Tokens
from memagent.admin.session import LONGEST_S, cookie_name, forget, is_tls, keep, role_in, site_of

NAME = "memagent-8411"


def test_the_name_tells_proxies_of_one_machine_apart():
    assert cookie_name(parse_listen("127.0.0.1:8411")) == NAME
    assert cookie_name(parse_listen("unix:/x")) == "memagent"


@pytest.mark.parametrize("token", ["act", "sésame", 'a;b=c, "d"', "x" * 300])
def test_a_cookie_proves_its_role_until_its_end(token: str):
    tokens, now_s = Tokens(b"look", token.encode()), 1e9
    pair, *rules = keep(NAME, token.encode(), "operator", now_s, is_tls=False).split("; ")
    assert rules == ["Path=/", "HttpOnly", "SameSite=Strict"]
    assert token not in pair
    cookies = f"other=1; {NAME}=old; {pair}; more".encode()
    assert role_in(cookies, NAME, tokens, now_s + LONGEST_S - 1) == "operator"
    assert role_in(cookies, NAME, tokens, now_s + LONGEST_S) is None
    assert role_in(cookies, NAME, Tokens(b"look", b"new"), now_s) is None
    assert role_in(cookies, NAME, Tokens(), now_s) is None
    assert role_in(pair.replace(NAME, "memagent-1").encode(), "memagent-1", tokens, now_s) is None
    reader = keep(NAME, b"look", "reader", now_s, is_tls=True)
    assert reader.endswith("; Secure")
    assert role_in(reader.encode(), NAME, tokens, now_s) == "reader"
    assert role_in(reader.replace("reader", "operator").encode(), NAME, tokens, now_s) is None


@pytest.mark.parametrize(
    "header", [None, b"", b"memagent-8411", b"memagent-8411=*", b"memagent-8411=\xff.", b";=;"]
)
def test_what_proves_nothing(header: bytes | None):
    assert role_in(header, NAME, Tokens(b"look", b"act"), 0) is None


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
