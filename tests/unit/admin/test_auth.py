"""Who may do what over HTTP."""

import pytest

from memagent.addresses import Address, parse_listen
from memagent.admin.auth import Caller, Role, Tokens, is_own_name, role_of

LOOPBACK = [parse_listen(text) for text in ("127.0.0.1:80", "127.9.9.9:80", "[::1]:80", "localhost:80")]
REMOTE = [
    parse_listen(text) for text in ("80", "10.0.0.1:80", "[::]:80", "[::ffff:127.0.0.1]:80", "a.test:80")
]
UNIX = parse_listen("unix:/run/admin.sock")
ALL = [*LOOPBACK, *REMOTE, UNIX]

NONE, BOTH = Tokens(), Tokens(b"look", b"act")
READ, OPERATOR = Tokens(read=b"look"), Tokens(operator=b"act")


@pytest.mark.parametrize("listen", ALL, ids=str)
@pytest.mark.parametrize("tokens", [NONE, READ, OPERATOR, BOTH])
@pytest.mark.parametrize(
    "header", ["", "look", "Bearer", "Bearer ", "Bearer x", "Basic look", "Bearer act look"]
)
def test_a_wrong_token_is_worse_than_none(listen: Address, tokens: Tokens, header: str):
    assert role_of(header.encode(), tokens, listen) is None


@pytest.mark.parametrize("listen", ALL, ids=str)
def test_a_right_token_is_right_everywhere(listen: Address):
    for scheme in ("Bearer", "bearer", "BEARER "):
        assert role_of(f"{scheme} look".encode(), BOTH, listen) == "reader"
        assert role_of(f"{scheme} act".encode(), BOTH, listen) == "operator"
    assert role_of(b"Bearer act", Tokens(b"act", b"act"), listen) == "operator"
    assert role_of("Bearer schlüssel".encode(), Tokens(operator="schlüssel".encode()), listen) == "operator"


@pytest.mark.parametrize("tokens", [NONE, READ, OPERATOR, BOTH])
def test_without_a_token(tokens: Tokens):
    assert {role_of(None, tokens, listen) for listen in REMOTE} == {None}
    expected: Role | None = None if tokens.read else "reader"
    assert {role_of(None, tokens, listen) for listen in LOOPBACK} == {expected}
    assert role_of(None, tokens, UNIX) == (expected if tokens.operator else "operator")


def test_an_operator_may_look_and_a_reader_not_act():
    operator, reader, nobody = (Caller(role, True, "") for role in ("operator", "reader", None))
    assert operator.may("reader")
    assert operator.may("operator")
    assert reader.may("reader")
    assert not reader.may("operator")
    assert not nobody.may("reader")
    assert Caller(None, False, "").who == "nobody without a token"


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST.:80", "127.0.0.1", "127.8.8.8:9", "[::1]", "[::1]:8"]
)
def test_a_host_of_this_machine(host: str):
    assert is_own_name(host.encode())


@pytest.mark.parametrize(
    "host",
    [
        "",
        ":",
        "evil.test",
        "localhost.evil.test:80",
        "127.0.0.1.evil.test",
        "10.0.0.1",
        "[::2]:80",
        "[",
        "\xff",
        "::1",
    ],
)
def test_a_host_of_somebody_else(host: str):
    assert not is_own_name(host.encode("latin-1"))
