"""The page's paths: its files, log-in and log-out, and the last hour."""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import httpx
import pytest
import structlog

from memagent.addresses import parse_listen
from memagent.admin import requests
from memagent.admin.api import Proxy, is_open, make_api
from memagent.admin.auth import Caller, Tokens
from memagent.admin.guard import Guard
from memagent.admin.guesses import AT_ONCE, Guesses
from memagent.admin.page import watch as module
from memagent.admin.page.routes import make_page
from memagent.admin.page.watch import Watch
from memagent.admin.requests import InvalidError, UnknownError
from memagent.admin.surveying import Wish
from memagent.snapshot import Snapshot
from tests.support.control_stand_in import MOVING, counts_of
from tests.support.snapshots import config_of, snapshot_of

CONFIG = config_of(servers=["10.0.0.1:1"])
LISTEN = parse_listen("127.0.0.1:80")
OWN = {"Sec-Fetch-Site": "same-origin"}


class Browser:
    """It keeps cookies from question to question. `close` it."""

    def __init__(self, tokens: Tokens) -> None:
        self.turned_away: list[Caller] = []
        self.asked: list[requests.Request] = []
        self.wishes: list[Wish] = []
        self._runner = asyncio.Runner()
        self._runner.run(self._open(tokens))

    async def _open(self, tokens: Tokens) -> None:
        def turned_away(caller: Caller, path: str) -> None:
            self.turned_away.append(caller)

        async def nobody(*_: Any) -> Any:
            raise NotImplementedError

        def snapshot() -> Snapshot:
            return dataclasses.replace(snapshot_of(CONFIG), migrations=(MOVING,))

        log = structlog.get_logger()
        self._watch = Watch(lambda: CONFIG, snapshot, counts_of, log)

        async def answer(asked: requests.Request) -> AsyncGenerator[dict[str, Any], None]:
            self.asked.append(asked)
            if asked == requests.Tap(verb="tap", of_verb="no"):
                raise InvalidError("no verb")
            for number in range(3):
                yield {"progress": {"matched": number}}

        async def survey(wish: Wish) -> AsyncGenerator[bytes, None]:
            if wish.pool != "main":
                raise UnknownError("there is no such pool")
            self.wishes.append(wish)
            for said in (b"progress", b"result"):
                yield b'{"%b":{}}\n' % said

        proxy = Proxy(answer, snapshot, list, nobody, nobody, survey, log)  # type: ignore[arg-type]
        guesses = Guesses()
        api = make_api(proxy, make_page(self._watch, proxy, LISTEN, lambda: tokens, turned_away, guesses))
        guard = Guard(api, LISTEN, lambda: tokens, turned_away, is_open, guesses)
        transport = httpx.ASGITransport(guard, client=("127.0.0.1", 99))  # type: ignore[arg-type]
        self._client = httpx.AsyncClient(transport=transport, base_url="http://localhost:80")

    def close(self) -> None:
        self._watch.close()
        self._runner.run(self._client.aclose())
        self._runner.close()

    @property
    def cookies(self) -> httpx.Cookies:
        return self._client.cookies

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self._runner.run(self._client.request(method, path, **more))

    def log_in(self, token: str, **headers: str) -> httpx.Response:
        return self.ask("POST", "/page/session", json={"token": token}, headers={**OWN, **headers})

    def session(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", "/page/session").json()
        return found


@pytest.fixture
def start() -> Iterator[Callable[[Tokens], Browser]]:
    started: list[Browser] = []

    def start(tokens: Tokens) -> Browser:
        started.append(Browser(tokens))
        return started[-1]

    yield start
    for browser in started:
        browser.close()


@pytest.fixture
def browser(start: Callable[[Tokens], Browser]) -> Browser:
    return start(Tokens(b"look", b"act"))


FILES = [("/", "text/html"), ("/page/main.js", "text/javascript"), ("/page/icon.svg", "image/svg")]
NO_FILES = ["", "nothing.js", "../routes.py", "%2e%2e/routes.py", "uplot/LICENSE"]


def test_files_are_for_everybody(browser: Browser):
    for path, kind in FILES:
        answer = browser.ask("GET", path)
        assert (answer.status_code, answer.headers["content-type"][: len(kind)]) == (200, kind)
        again = browser.ask("GET", path, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    for path in NO_FILES:
        assert browser.ask("GET", f"/page/{path}").status_code in (401, 404)


def test_logging_in_and_out(browser: Browser):
    assert browser.session() == {"role": None, "logged_in": False, "can_log_in": True}
    assert browser.ask("GET", "/v1/state").status_code == 401
    refused = browser.log_in("wrong")
    assert (refused.status_code, refused.json()["error"]) == (401, "this token is none of ours")
    assert len(browser.turned_away) == 1
    assert not browser.cookies
    for token, role in (("look", "reader"), (" act\n", "operator")):
        assert browser.log_in(token).json() == {"role": role}
        assert browser.session() == {"role": role, "logged_in": True, "can_log_in": True}
        assert browser.ask("GET", "/v1/history").status_code == 200
    assert browser.ask("DELETE", "/page/session", headers=OWN).status_code == 204
    assert browser.session()["role"] is None


def test_logging_in_and_the_header_share_their_guesses(browser: Browser):
    browser.log_in("look")
    for number in range(AT_ONCE - 1):
        assert browser.log_in(f"wrong{number}").status_code == 401
    wrong = {"Authorization": "Bearer wrong", **OWN}
    assert browser.ask("GET", "/v1/history", headers=wrong).status_code == 401
    held = browser.log_in("act")
    assert (held.status_code, len(browser.turned_away)) == (429, AT_ONCE + 1)
    assert 1 <= int(held.headers["retry-after"]) <= 5
    assert browser.session()["role"] == "reader", "who has logged in does not guess"


def test_the_cookie_is_for_the_browser_alone(browser: Browser):
    said = browser.log_in("act").headers["set-cookie"]
    assert "HttpOnly" in said
    assert "SameSite=Strict" in said
    assert "Secure" not in said
    assert "; Secure" in browser.log_in("act", Origin="https://proxy.test").headers["set-cookie"]


def test_no_other_site_logs_anybody_in_or_out(browser: Browser):
    browser.log_in("act")
    foreign = {"Sec-Fetch-Site": "cross-site"}
    for method in ("POST", "DELETE"):
        refused = browser.ask(method, "/page/session", json={"token": "look"}, headers=foreign)
        assert refused.status_code == 403
    assert browser.session()["role"] == "operator"


def test_what_is_no_log_in(browser: Browser):
    for body in ({}, {"token": 1}, {"token": "act", "more": 1}, [], {"token": "x" * 5000}):
        assert browser.ask("POST", "/page/session", json=body, headers=OWN).status_code == 422


def test_where_no_token_is_set(start: Callable[[Tokens], Browser]):
    browser = start(Tokens())
    assert browser.session() == {"role": "reader", "logged_in": False, "can_log_in": False}
    assert browser.log_in("").status_code == 401


def test_the_last_hour(start: Callable[[Tokens], Browser]):
    browser = start(Tokens())
    assert browser.ask("GET", "/v1/history").json()["at_s"] == []
    assert browser.ask("GET", "/v1/history?pool=main&server=nobody").status_code == 404
    for half in ("pool=main", "server=10.0.0.1:1"):
        assert browser.ask("GET", f"/v1/history?{half}").status_code == 422
    assert browser.ask("GET", "/v1/history?since_s=x").status_code == 422
    assert browser.ask("GET", "/v1/history?since_s=nan").status_code == 422


def test_what_may_be_done(start: Callable[[Tokens], Browser]):
    browser = start(Tokens())
    found = browser.ask("GET", "/v1/actions/main/10.0.0.1:1").json()
    assert [each["path"] for each in found] == ["drain", "replace", "flush"]
    assert browser.ask("GET", "/v1/actions/main/10.0.0.1:1?backup=true").status_code == 404
    assert browser.ask("GET", "/v1/actions/main/nobody").status_code == 404
    moving = browser.ask("GET", "/v1/actions/main").json()
    assert [each["path"] for each in moving] == ["pause", "abort"]
    assert browser.ask("GET", "/v1/actions/another").json() == []


def test_live_requests(browser: Browser):
    body = {"prefix": "a", "server": "b", "per_s": 7}
    browser.log_in("look")
    assert browser.ask("POST", "/v1/tap", json=body, headers=OWN).status_code == 403
    browser.log_in("act")
    with structlog.testing.capture_logs() as log:
        answer = browser.ask("POST", "/v1/tap", json=body, headers=OWN)
    assert answer.text == "".join(f'{{"matched": {number}}}\n' for number in range(3))
    assert browser.asked == [requests.Tap(verb="tap", prefix="a", server="b", per_s=7)]
    assert [line["event"] for line in log] == ["an operator acts over HTTP"]
    assert browser.ask("POST", "/v1/tap", json={"of_verb": "no"}, headers=OWN).status_code == 422
    assert browser.ask("POST", "/v1/tap", json={"per_s": 0}, headers=OWN).status_code == 422


def test_what_if(start: Callable[[Tokens], Browser]):
    browser = start(Tokens())
    found = browser.ask("GET", "/v1/what-if?pool=main&what=add&value=10.0.0.2:1").json()
    assert (found["keys"], found["not_asked"]) == (0, ["10.0.0.1:1"])
    assert browser.ask("GET", "/v1/what-if?pool=main&what=remove&value=x").status_code == 404
    assert browser.ask("GET", "/v1/what-if?pool=main&what=add&value=no address").status_code == 422
    assert browser.ask("GET", "/v1/what-if?pool=main&what=explode&value=x").status_code == 422


def test_all_keys(browser: Browser):
    path = "/v1/survey?what=browse&pool=main&prefix_base64=dXNlcjo&backup=true"
    assert browser.ask("GET", path).status_code == 401
    browser.log_in("look")
    with structlog.testing.capture_logs() as log:
        answer = browser.ask("GET", path)
    assert answer.text == '{"progress":{}}\n{"result":{}}\n'
    assert answer.headers["content-type"] == "application/x-ndjson"
    [wish] = browser.wishes
    assert (wish.what, wish.prefix_base64, wish.backup) == ("browse", "dXNlcjo", True)
    assert [line["who"] for line in log] == ["reader with a token"]
    assert browser.ask("GET", "/v1/survey?what=browse&pool=x").status_code == 404
    for wrong in ("what=all&pool=main", "what=browse", f"what=browse&pool=main&pattern={'x' * 251}", "a=b"):
        assert browser.ask("GET", f"/v1/survey?{wrong}").status_code == 422


def test_no_more_pages_than_leave_room_for_health(
    start: Callable[[Tokens], Browser], monkeypatch: pytest.MonkeyPatch
):
    browser = start(Tokens())
    monkeypatch.setattr(module, "_MOST_WATCHERS", 0)
    refused = browser.ask("GET", "/v1/watch")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "10")


def test_the_last_event_says_that_there_is_more(
    start: Callable[[Tokens], Browser], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "LONGEST_S", 0.0)
    answer = start(Tokens()).ask("GET", "/v1/watch")
    assert answer.text.endswith("event: again\ndata: {}\n\n")
    assert answer.headers["x-accel-buffering"] == "no"
