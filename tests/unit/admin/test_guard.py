"""What a request has to pass before anything of it is understood."""

import asyncio
import time
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import httpx
import pytest

from memagent.addresses import parse_listen
from memagent.admin.auth import Caller, Role, Tokens
from memagent.admin.guard import CALLER, MOST_BODY_BYTES, Guard, Receive, Send
from memagent.admin.guesses import AT_ONCE, Guesses
from memagent.admin.session import keep

JSON = {"Content-Type": "application/json"}
OPERATOR = {"Authorization": "Bearer act"}
READER = {"Authorization": "Bearer look"}


class Case:
    """`reached`: what has passed, and the bytes of its body."""

    def __init__(self, listen: str = "127.0.0.1:80", tokens: Tokens = Tokens(b"look", b"act")) -> None:  # noqa: B008
        self.reached: list[tuple[Caller, int]] = []
        self.turned_away: list[Caller] = []
        self.tokens = tokens
        self.guard = Guard(
            self.application,
            parse_listen(listen),
            lambda: self.tokens,
            lambda caller, path: self.turned_away.append(caller),
            lambda path: path.startswith("/health/"),
            Guesses(),
        )

    async def application(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        n_bytes, more = 0, True
        while more:
            message = await receive()
            n_bytes += len(message["body"])
            more = message.get("more_body", False)
        self.reached.append((scope[CALLER], n_bytes))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def ask(
        self, method: str, path: str, host: str = "localhost", peer: str = "10.1.1.1", **more: Any
    ) -> httpx.Response:
        async def whole() -> httpx.Response:
            transport = httpx.ASGITransport(self.guard, client=(peer, 99))
            async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
                return await client.request(method, path, **more)

        return asyncio.run(whole())


def test_looking_and_acting():
    case = Case()
    assert case.ask("GET", "/v1/state").status_code == 401
    assert case.ask("GET", "/nothing").headers["www-authenticate"] == "Bearer"
    assert case.reached == case.turned_away == []
    assert case.ask("GET", "/v1/state", headers=READER).status_code == 200
    for method in ("POST", "PUT", "DELETE", "PATCH", "ODD"):
        assert case.ask(method, "/v1/state", headers=READER).status_code == 403
        assert case.ask(method, "/v1/state", headers=OPERATOR).status_code == 200
    assert [caller.role for caller, _ in case.reached] == ["reader", *["operator"] * 5]
    assert {caller.peer for caller, _ in case.reached} == {"10.1.1.1:99"}
    assert len(case.turned_away) == 5


def test_health_is_open_and_shows_who_asks():
    case = Case()
    assert case.ask("GET", "/health/ready").status_code == 200
    assert case.ask("GET", "/health/ready", headers=READER).status_code == 200
    assert case.ask("GET", "/health/ready", headers={"Authorization": "Bearer x"}).status_code == 200
    assert [caller.role for caller, _ in case.reached] == [None, "reader", None]
    assert case.ask("GET", "/healthy").status_code == 401


def test_no_token_is_configured():
    case = Case(tokens=Tokens())
    assert case.ask("GET", "/v1/state").status_code == 200
    refused = case.ask("POST", "/v1/reload")
    assert refused.status_code == 403
    assert "admin_operator_token" in refused.json()["hint"]
    assert Case("unix:/x", Tokens()).ask("POST", "/v1/reload").status_code == 200
    # A reload may take the tokens away while the address stays.
    assert Case("0.0.0.0:80", Tokens()).ask("GET", "/v1/state").status_code == 401


def test_a_foreign_host_is_refused_on_loopback_only():
    case = Case(tokens=Tokens())
    for path in ("/health/live", "/v1/state"):
        assert case.ask("GET", path, host="evil.test").status_code == 421
    assert case.reached == []
    assert Case("0.0.0.0:80").ask("GET", "/", host="proxy.test", headers=READER).status_code == 200
    assert Case("unix:/x").ask("GET", "/", host="any.test", headers=READER).status_code == 200


def test_at_a_unix_socket_a_foreign_host_needs_a_token():
    case = Case("unix:/x", Tokens(None, b"act"))
    for host in ("evil.test", "10.1.1.1"):
        assert case.ask("GET", "/v1/state", host=host).status_code == 401
        assert case.ask("GET", "/v1/state", host=host, headers=OPERATOR).status_code == 200
        assert Case("unix:/x", Tokens()).ask("POST", "/v1/reload", host=host).status_code == 401
    for headers in ({}, {"Host": ""}):
        assert case.ask("GET", "/v1/state", headers=headers).status_code == 200


def test_no_answer_is_kept_unless_it_says_so():
    for headers in ({}, READER):
        assert Case().ask("GET", "/v1/state", headers=headers).headers["cache-control"] == "no-store"


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"])
def test_a_body_is_json(kind: str):
    case = Case()
    headers = {**OPERATOR, "Content-Type": kind} if kind else OPERATOR
    assert case.ask("POST", "/", headers=headers, content=b"{}").status_code == 415
    assert case.ask("POST", "/", headers=headers).status_code == 200, "there is no body"
    good = {**OPERATOR, "Content-Type": "Application/JSON; charset=utf-8"}
    assert case.ask("POST", "/", headers=good, content=b"{}").status_code == 200


def test_a_body_is_not_endless():
    async def pieces(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"x" * 1024

    case, headers = Case(), {**OPERATOR, **JSON}
    assert case.ask("POST", "/", headers=headers, content=b"x" * MOST_BODY_BYTES).status_code == 200
    assert case.ask("POST", "/", headers=headers, content=b"x" * (MOST_BODY_BYTES + 1)).status_code == 413
    assert case.ask("POST", "/", headers=headers, content=pieces(64)).status_code == 200
    assert case.ask("POST", "/", headers=headers, content=pieces(65)).status_code == 413
    assert case.ask("GET", "/", headers=READER, content=pieces(65)).status_code == 413
    assert [n_bytes for _, n_bytes in case.reached] == [MOST_BODY_BYTES] * 2


def test_no_answer_is_for_pages_of_others():
    case = Case()
    for headers in (READER, {}, {**READER, "Origin": "http://evil.test"}):
        answer = case.ask("OPTIONS", "/v1/state", headers=headers)
        assert not [name for name in answer.headers if name.startswith("access-control")]


def cookie(token: str, port: int = 80) -> dict[str, str]:
    role: Role = "reader" if token == "look" else "operator"
    return {"Cookie": keep(f"memagent-{port}", token.encode(), role, time.time(), False).partition(";")[0]}


OWN = {"Sec-Fetch-Site": "same-origin"}


def test_a_cookie_is_as_good_as_the_header():
    case = Case()
    assert case.ask("GET", "/v1/state", headers=cookie("look")).status_code == 200
    assert case.ask("GET", "/v1/state", headers=cookie("wrong")).status_code == 401
    assert case.ask("GET", "/v1/state", headers=cookie("look", port=81)).status_code == 401
    assert case.ask("POST", "/v1/reload", headers={**cookie("look"), **OWN}).status_code == 403
    assert case.ask("POST", "/v1/reload", headers={**cookie("act"), **OWN}).status_code == 200
    assert [caller.role for caller, _ in case.reached] == ["reader", "operator"]
    # The header is what was meant.
    assert (
        case.ask("GET", "/v1/state", headers={**cookie("act"), "Authorization": "Bearer x"}).status_code
        == 401
    )
    # One of a proxy on the way means nothing here.
    basic = {**cookie("act"), "Authorization": "Basic eA=="}
    assert case.ask("GET", "/v1/state", headers=basic).status_code == 200
    assert case.ask("POST", "/v1/reload", headers=basic).status_code == 403, "from whose page?"
    assert case.ask("POST", "/v1/reload", headers={**basic, **OWN}).status_code == 200
    # One that is wrong by now is none.
    assert Case(tokens=Tokens(None, b"a")).ask("GET", "/v1/state", headers=cookie("b")).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://evil.test"}],
)
def test_nobody_acts_by_a_cookie_from_elsewhere(headers: dict[str, str]):
    case = Case()
    for method in ("POST", "PUT", "DELETE"):
        assert case.ask(method, "/v1/reload", headers={**cookie("act"), **headers}).status_code == 403
    assert case.reached == []
    assert len(case.turned_away) == 3


def test_another_sites_page_acts_nowhere():
    for path in ("/v1/reload", "/health/live"):
        case = Case("unix:/x", Tokens())
        assert case.ask("POST", path, headers={"Origin": "http://evil.test"}).status_code == 403
        assert case.ask("POST", path, headers={"Origin": "http://localhost"}).status_code == 200
        assert case.ask("POST", path).status_code == 200, "no browser"
    assert Case().ask("POST", "/", headers={**OPERATOR, "Origin": "http://evil.test"}).status_code == 200


def test_browsers_are_told_what_a_page_may_do():
    case = Case()
    for answer in (case.ask("GET", "/v1/state"), case.ask("GET", "/v1/state", headers=READER)):
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_who_guesses_tokens_waits_and_nobody_else():
    case, logged_in = Case(), cookie("look")
    case.ask("GET", "/v1/state", headers=logged_in)
    case.reached.clear()
    for number in range(AT_ONCE):
        wrong = {"Authorization": f"Bearer wrong{number}"}
        assert case.ask("GET", "/v1/state", headers=wrong).status_code == 401
    held = case.ask("GET", "/v1/state", headers=OPERATOR)
    assert held.status_code == 429
    assert 1 <= int(held.headers["retry-after"]) <= 5
    assert "try again in" in held.json()["error"]
    assert case.ask("POST", "/v1/reload", headers=OPERATOR).status_code == 429
    assert len(case.turned_away) == AT_ONCE + 2
    assert case.reached == []
    # What is open to everybody tells no more than to anybody, and who has logged in does not guess.
    assert case.ask("GET", "/health/ready", headers=OPERATOR).status_code == 200
    assert case.ask("GET", "/v1/state", headers=logged_in).status_code == 200
    assert case.ask("GET", "/v1/state", headers=OPERATOR, peer="10.1.1.2").status_code == 200
    assert [caller.role for caller, _ in case.reached] == [None, "reader", "operator"]


def test_a_cookie_made_with_a_guess_is_a_guess():
    case = Case()
    for number in range(AT_ONCE):
        assert case.ask("GET", "/v1/state", headers=cookie(f"wrong{number}")).status_code == 401
    assert case.ask("GET", "/v1/state", headers=cookie("act")).status_code == 401, "it is not looked at"
    assert case.ask("GET", "/v1/state", headers=OPERATOR).status_code == 429
    assert case.ask("GET", "/v1/state", headers=cookie("act"), peer="10.1.1.2").status_code == 200
    many = "; ".join(cookie(f"wrong{number}")["Cookie"] for number in range(2 * AT_ONCE))
    case = Case()
    assert case.ask("GET", "/v1/state", headers={"Cookie": many}).status_code == 401
    assert case.ask("GET", "/v1/state", headers=OPERATOR).status_code == 429


def test_a_cookie_that_was_right_is_no_guess_after_a_change_of_the_token():
    case, old = Case(), [cookie("act") for _ in range(2 * AT_ONCE)]
    for each in old:
        assert case.ask("GET", "/v1/state", headers=each).status_code == 200
    case.tokens = Tokens(b"look", b"new")
    for each in old:
        assert case.ask("GET", "/v1/state", headers=each).status_code == 401
    assert case.ask("GET", "/v1/state", headers=READER).status_code == 200


def test_a_wrong_token_is_a_guess_where_everybody_may_ask_too():
    case = Case()
    for number in range(AT_ONCE):
        case.ask("GET", "/health/ready", headers={"Authorization": f"Bearer wrong{number}"})
    assert case.ask("GET", "/v1/state", headers=READER).status_code == 429


OLD, NEW = Tokens(b"look", b"act"), Tokens(b"look", b"new")


@pytest.mark.parametrize(
    ("method", "headers", "before", "after", "is_over"),
    [
        ("GET", {}, Tokens(), Tokens(b"look", None), True),
        ("GET", {}, Tokens(), Tokens(None, b"act"), False),
        ("GET", OPERATOR, OLD, NEW, True),
        ("GET", cookie("act"), OLD, NEW, True),
        ("GET", READER, OLD, NEW, False),
        ("GET", cookie("look"), OLD, NEW, False),
        ("POST", OPERATOR, OLD, Tokens(b"act", b"new"), True),
        ("POST", {**cookie("act"), **OWN}, OLD, NEW, True),
        ("POST", OPERATOR, OLD, Tokens(b"new", b"act"), False),
    ],
)
def test_what_goes_on_ends_with_the_token(
    method: str, headers: dict[str, str], before: Tokens, after: Tokens, is_over: bool
):
    class Endless(Case):
        async def application(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for number in range(6):
                self.tokens = before if number < 2 else after
                await send({"type": "http.response.body", "body": b"%d" % number, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

    case = Endless(tokens=before)
    assert case.ask(method, "/v1/watch", headers=headers).text == ("01" if is_over else "012345")
    assert case.ask("GET", "/health/live").text == "012345", "it is for everybody"
