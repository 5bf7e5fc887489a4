"""The control API's paths, before an operator that notes what it is asked."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
import structlog

from memagent.addresses import parse_listen
from memagent.admin import requests
from memagent.admin.api import Proxy, is_open, make_api
from memagent.admin.auth import Tokens
from memagent.admin.guard import Guard
from memagent.admin.guesses import Guesses
from memagent.admin.requests import InvalidError, RefusedError, UnknownError
from memagent.admin.writing import Change
from memagent.observed import Hot, Slow
from memagent.snapshot import Limits, ServerSnapshot, Snapshot, WarmSnapshot, as_json

WARM = WarmSnapshot("running", 1.0, None, ("b",), None, 1, 1, 10, 2.5, 50.0, None, "")
SERVER = ServerSnapshot(
    *(0, "main", "a", "10.0.0.1:1", False, 1, "up", 1.0, "", 0, False, False, 0, 0, 0, 1, 0, False, WARM)
)


async def nobody(*_: Any) -> AsyncGenerator[bytes, None]:
    raise NotImplementedError
    yield b""


class Case:
    def __init__(self, refusal: RefusedError | None = None) -> None:
        self.refusal = refusal
        self.asked: list[requests.Request] = []
        self.missing: list[str] = []
        self.keys: list[bytes] = []
        self.changes: list[Change] = []
        self.draining = False
        log = structlog.get_logger()
        proxy = Proxy(self.answer, self.snapshot, lambda: self.missing, self.look_up, self.write, nobody, log)
        tokens = Tokens(b"look", b"act")
        self.guard = Guard(
            make_api(proxy), parse_listen("127.0.0.1:80"), lambda: tokens, lambda *_: None, is_open, Guesses()
        )

    async def answer(self, request: requests.Request) -> AsyncGenerator[dict[str, Any], None]:
        self.asked.append(request)
        if self.refusal is not None:
            raise self.refusal
        match request:
            case requests.Metrics(accept=accept):
                yield {"ok": True, "content_type": "text/odd", "text": f"for {accept}"}
            case requests.Config():
                yield {"ok": True, "config": {"a": 1}, "addresses": [["b"]]}
            case requests.Reload():
                yield {"ok": True, "changes": ("c",), "waiting": ()}
            case requests.LogLevel(level=level):
                yield {"ok": True, "level": level or "info"}
            case requests.Flush():
                yield {"ok": True}
            case requests.Hot():
                yield {"ok": True, "hot": as_json(Hot(2.0, 1.0, ()))}
            case requests.Slow():
                yield {"ok": True, "slow": as_json(Slow(100, 3, ()))}
            case _:
                yield {"ok": True, "server": as_json(SERVER), "text": "write it down"}

    def snapshot(self) -> Snapshot:
        return Snapshot("1", 1, 2.0, 1.0, (), self.draining, Limits(1, 2, 3), True, (), (), ())

    async def look_up(self, key: bytes, pool: str | None, with_value: bool) -> dict[str, Any]:
        self.keys.append(key)
        return {"key": "k", "with_value": with_value}

    async def write(self, change: Change) -> str:
        if self.refusal is not None:
            raise self.refusal
        self.changes.append(change)
        return "DELETED" if change.value is None else "STORED"

    def ask(
        self, method: str, path: str, token: str | None = "act", kind: str = "", **more: Any
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        headers |= {"Content-Type": kind} if kind else {}

        async def whole() -> httpx.Response:
            transport = httpx.ASGITransport(self.guard, client=("127.0.0.1", 99))  # type: ignore[arg-type]
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.request(method, path, headers=headers, **more)

        return asyncio.run(whole())


OF = {"server": "a", "pool": "main"}
VERBS: list[tuple[str, dict[str, Any] | None, requests.Request]] = [
    ("drain", None, requests.Drain(**OF, verb="drain", wait=False)),  # type: ignore[arg-type]
    ("drain", {"force": True}, requests.Drain(**OF, verb="drain", wait=False, force=True)),  # type: ignore[arg-type]
    ("undrain?backup=true", None, requests.Undrain(**OF, verb="undrain", backup=True, wait=False)),  # type: ignore[arg-type]
    ("rewarm", None, requests.Rewarm(**OF, verb="rewarm", wait=False)),  # type: ignore[arg-type]
    ("rewarm/pause", None, requests.RewarmControl(**OF, verb="rewarm_pause")),  # type: ignore[arg-type]
    ("rewarm/resume", None, requests.RewarmControl(**OF, verb="rewarm_resume")),  # type: ignore[arg-type]
    ("rewarm/abort", None, requests.RewarmControl(**OF, verb="rewarm_abort")),  # type: ignore[arg-type]
    (
        "flush",
        {"confirm": "flush_all"},
        requests.FlushServer(**OF, verb="flush_server", confirm="flush_all"),  # type: ignore[arg-type]
    ),
    (
        "replace",
        {"address": "b:1", "keep_data": True},
        requests.Replace(**OF, verb="replace", address="b:1", keep_data=True, wait=False),  # type: ignore[arg-type]
    ),
]


@pytest.mark.parametrize(("path", "body", "asked"), VERBS, ids=[path for path, *_ in VERBS])
def test_verbs_of_a_server(path: str, body: dict[str, Any] | None, asked: requests.Request):
    case = Case()
    with structlog.testing.capture_logs() as log:
        answer = case.ask("POST", f"/v1/servers/main/a/{path}", json=body)
    assert answer.status_code == 200
    assert answer.json() == {"server": as_json(SERVER) | {"warm": {**as_json(WARM), "sources": ["b"]}}} | {
        "text": "write it down"
    }
    assert case.asked == [asked]
    [line] = log
    assert (line["who"], line["peer"]) == ("operator with a token", "127.0.0.1:99")
    assert line["request"]["server"] == "a"
    assert case.ask("POST", f"/v1/servers/main/a/{path}", "look", json=body).status_code == 403
    assert case.ask("GET", "/v1/servers/main/a/" + path.partition("?")[0]).status_code == 200, "it is a name"


def test_verbs_of_the_proxy():
    case = Case()
    assert case.ask("POST", "/v1/reload").json() == {"changes": ["c"], "waiting": []}
    assert case.ask("PUT", "/v1/log-level", json={"level": "debug"}).json() == {"level": "debug"}
    flush = {"pool": "main", "confirm": "flush_all"}
    assert case.ask("POST", "/v1/flush", json=flush).json() == {"ok": True}
    assert len(case.asked) == 3
    for what in ("pause", "resume", "abort"):
        assert case.ask("POST", f"/v1/migrations/main/{what}").json() == {"ok": True}
        assert case.asked[-1] == requests.MigrationControl(verb=f"migration_{what}", pool="main")
    assert case.ask("POST", "/v1/migrations/main/stop").status_code == 422
    assert case.ask("POST", "/v1/migrations/main/stop", "look").status_code == 403


def test_looking():
    case = Case()
    assert case.ask("GET", "/v1/state", "look").json()["limits"]["server_queue_bytes"] == 3
    assert case.ask("GET", "/v1/servers", "look").json() == []
    assert case.ask("GET", "/v1/servers/main/unix:%2Frun%2Fm.sock", "look").json()["name"] == "a"
    assert case.asked[-1] == requests.Look(server="unix:/run/m.sock", pool="main", verb="server")
    assert case.ask("GET", "/v1/config", "look").json() == {"config": {"a": 1}, "addresses": [["b"]]}
    assert case.ask("GET", "/v1/log-level", "look").json() == {"level": "info"}
    hot = case.ask("GET", "/v1/hot?count=7", "look").json()
    assert hot == {"requests_per_s": 2.0, "unseen_per_s": 1.0, "keys": []}
    assert case.asked[-1] == requests.Hot("hot", 7)
    assert case.ask("GET", "/v1/slow", "look").json() == {"slow_ms": 100, "total": 3, "requests": []}
    assert case.ask("GET", "/v1/slow?count=0", "look").status_code == 422
    metrics = case.ask("GET", "/metrics", "look")
    assert metrics.headers["content-type"].startswith("text/odd")
    assert metrics.text == "for */*"


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("a", b"a"),
        ("a/b%2Fc", b"a/b/c"),
        ("%FF%00%3F", b"\xff\0?"),
        ("%25", b"%"),
        ("a+b", b"a+b"),
        ("Li4=?base64=true", b".."),
        ("__8=?base64=true", b"\xff\xff"),
        ("//8=?base64=1", b"\xff\xff"),
    ],
)
def test_keys(path: str, key: bytes):
    case = Case()
    assert case.ask("GET", f"/v1/keys/{path}", "look").status_code == 200
    assert case.keys == [key]


def test_health():
    case = Case()
    assert case.ask("GET", "/health/live", None).json() == {"live": True}
    assert case.ask("GET", "/health/ready", None).json() == {"ready": True, "missing": None}
    case.missing = ["a is down"]
    for token, told in ((None, None), ("wrong", None), ("look", ["a is down"])):
        answer = case.ask("GET", "/health/ready", token)
        assert (answer.status_code, answer.json()) == (503, {"ready": False, "missing": told})


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (RefusedError("no", "later", can_force=True), 409),
        (UnknownError("no", "later"), 404),
        (InvalidError("no", "later"), 422),
    ],
)
def test_what_is_refused(refusal: RefusedError, status: int):
    with structlog.testing.capture_logs() as log:
        answer = Case(refusal).ask("POST", "/v1/servers/main/a/drain")
    assert answer.status_code == status
    assert answer.json() == refusal.as_json()
    assert log[0]["problem"] == "no"
    assert Case(refusal).ask("GET", "/v1/servers/main/a").status_code == status


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("POST", "flush", '{"pool": "main"}', 422, "body.confirm"),
        ("POST", "flush", '{"pool": "main", "confirm": "yes"}', 422, "flush_all"),
        ("POST", "flush", "", 422, "body"),
        ("POST", "flush", "{", 422, "JSON"),
        ("POST", "flush", "[" * 20_000, 400, ""),
        ("POST", "flush", "1", 422, "body"),
        ("POST", "servers/main/a/drain", '{"force": "yes"}', 422, "force"),
        ("POST", "servers/main/a/drain", '{"wait": true}', 422, "wait"),
        ("POST", "servers/main/a/drain?backup=perhaps", "", 422, "backup"),
        ("POST", "servers/main/a/replace", "", 422, "body"),
        ("POST", "servers/main/a/rewarm/dance", "", 422, "what"),
        ("PUT", "log-level", '{"level": "trace"}', 422, "level"),
        ("DELETE", "log-level", "", 405, "method not allowed"),
        ("POST", "nothing", "", 404, "not found"),
        ("GET", "keys/x?base64=true", "", 422, "base64"),
    ],
)
def test_what_makes_no_sense(method: str, path: str, body: str, status: int, says: str):
    case = Case()
    more = {"content": body, "kind": "application/json"} if body else {}
    answer = case.ask(method, f"/v1/{path}", **more)
    assert answer.status_code == status
    assert says in answer.json()["error"]
    assert case.asked == case.keys == []


def test_a_proxy_that_ends_is_only_looked_at():
    case = Case()
    case.draining = True
    assert case.ask("POST", "/v1/reload").json()["error"] == "the proxy is ending"
    assert case.asked == []
    assert case.ask("GET", "/v1/state").json()["draining"] is True


def test_openapi_names_everything_and_no_page_is_there():
    case = Case()
    document = case.ask("GET", "/openapi.json", "look").json()
    assert {"/v1/servers/{pool}/{name}/drain", "/health/ready", "/metrics"} < document["paths"].keys()
    assert "security" in document["paths"]["/v1/state"]["get"]
    assert "security" not in document["paths"]["/health/live"]["get"]
    assert case.ask("GET", "/openapi.json", None).status_code == 401
    for page in ("/docs", "/redoc"):
        assert case.ask("GET", page).status_code == 404


def test_a_key_is_set_and_deleted():
    case = Case()
    with structlog.testing.capture_logs() as log:
        answer = case.ask("PUT", "/v1/keys/a%FF", json={"value_base64": "AAEC", "flags": 3, "expiry_s": 9})
        assert answer.json() == {"reply": "STORED"}
        assert case.ask("DELETE", "/v1/keys/Yf8?base64=true&pool=p").json() == {"reply": "DELETED"}
    assert case.changes == [Change(b"a\xff", b"\0\1\2", 3, 9), Change(b"a\xff", pool="p")]
    assert [line["request"] for line in log] == [
        {"verb": "set", "key": "a\\xff"},
        {"verb": "delete", "key": "a\\xff"},
    ]
    assert case.ask("PUT", "/v1/keys/a", json={"value_base64": "*"}).status_code == 422
    surrogate = b'{"value_base64": "\\ud800"}'
    assert case.ask("PUT", "/v1/keys/a", kind="application/json", content=surrogate).status_code == 422
    assert case.ask("PUT", "/v1/keys/a", json={"value_base64": "", "flags": -1}).status_code == 422
    for method in ("PUT", "DELETE"):
        assert case.ask(method, "/v1/keys/a", "look", json={"value_base64": ""}).status_code == 403
    case.draining = True
    assert case.ask("DELETE", "/v1/keys/a").status_code == 409


def test_a_value_is_shown_where_it_is_asked_for():
    case = Case()
    assert case.ask("GET", "/v1/keys/a", "look").json()["with_value"] is False
    assert case.ask("GET", "/v1/keys/a?value=true", "look").json()["with_value"] is True


def test_a_keys_path_is_not_written_otherwise():
    case = Case()
    for method in ("GET", "DELETE"):
        for path in ("/v1%2Fkeys/a/b", "/v1%2Fkeys/x", "/%761/keys/x"):
            assert case.ask(method, path).status_code == 404
    assert (case.keys, case.changes) == ([], [])
