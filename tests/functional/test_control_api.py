"""The control API of a running proxy, with real memcached servers: over HTTP, as curl asks."""

import contextlib
import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from prometheus_client.parser import text_string_to_metric_families as read_text
from schemathesis import GenerationMode, checks

from tests.support.memcached import Memcached
from tests.support.ports import free_port
from tests.support.processes import ROOT
from tests.support.proxy import Proxy
from tests.support.wait import wait_until

TOKEN = "sésame"
START = Callable[..., "Case"]


class Case:
    """Two servers, two backups, a proxy of two workers, and who asks for things at its control API."""

    def __init__(self, servers: list[Memcached], proxy: Proxy, listen: str) -> None:
        self.servers = servers
        self.proxy = proxy
        self.listen = listen

    def ask(
        self, method: str, path: str, body: Any = None, token: str | None = TOKEN, **headers: str
    ) -> tuple[int, Any]:
        """Status, and what the answer means."""
        connection = self.connect()
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            headers.setdefault("Content_Type", "application/json")
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            raw = {name.replace("_", "-"): value.encode() for name, value in headers.items()}
            connection.request(method, path, sent, raw)  # type: ignore[arg-type]
            answer = connection.getresponse()
            text = answer.read()
            is_json = answer.headers["content-type"] == "application/json"
            return answer.status, json.loads(text) if is_json else text.decode()
        finally:
            connection.close()

    def connect(self) -> http.client.HTTPConnection:
        if not self.listen.startswith("unix:"):
            return http.client.HTTPConnection(self.listen, timeout=20)
        connection = http.client.HTTPConnection("localhost", timeout=20)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self.listen.removeprefix("unix:"))
        return connection

    def good(self, method: str, path: str, body: Any = None) -> Any:
        status, found = self.ask(method, path, body)
        assert status == 200, found
        return found

    def of(self, number: int) -> str:
        return f"/v1/servers/main/{quote(self.servers[number].address)}"

    def state(self, number: int) -> str:
        state = self.good("GET", self.of(number))["state"]
        assert isinstance(state, str)
        return state

    def wait_for(self, number: int, state: str) -> None:
        wait_until(lambda: self.state(number) == state, 30, f"{number} to be {state}")


@contextlib.contextmanager
def starting() -> Iterator[START]:
    """What is started ends with the block."""
    with ExitStack() as stack:

        def start(listen: str = "", workers: int = 1, **settings: Any) -> Case:
            servers = []
            for _ in range(4):
                servers.append(Memcached.start())
                stack.callback(servers[-1].stop)
                stack.callback(servers[-1].kill)
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="memagent-control-"))
            listen = listen or f"127.0.0.1:{free_port()}"
            given = {"control_socket": f"{folder}/control", "admin_listen": listen, **settings}
            pool = {"probe_max_ms": 100}
            proxy = Proxy.start(servers[:2], servers[2:], workers=workers, pool=pool, settings=given)
            stack.callback(proxy.clean_up)
            case = Case(servers, proxy, listen)
            if not listen.startswith("0.0.0.0"):
                wait_until(lambda: case.ask("GET", "/health/ready", token=None)[0] == 200, 20, "ready")
            return case

        yield start


@contextlib.contextmanager
def another() -> Iterator[Memcached]:
    made = Memcached.start()
    try:
        yield made
    finally:
        made.kill()
        made.stop()


@pytest.fixture
def start() -> Iterator[START]:
    with starting() as start:
        yield start


@pytest.fixture(scope="module")
def case() -> Iterator[Case]:
    """Every test leaves it as it was."""
    with starting() as start:
        yield start(workers=2, admin_operator_token=TOKEN)


def test_a_server_is_drained_let_in_and_replaced(start: START):
    case = start(admin_operator_token=TOKEN)
    with case.proxy.connect() as wire, another() as other:
        wire.expect(b"set a 0 0 1\r\n1\r\n", b"STORED\r\n")
        drained = case.good("POST", case.of(0) + "/drain")["server"]
        assert drained["held"]
        case.wait_for(0, "drained")
        status, refused = case.ask("POST", case.of(2) + "/drain", {})
        assert (status, refused["force"]) == (409, True)
        assert case.good("GET", "/health/ready") == {"ready": True, "missing": []}
        case.good("POST", case.of(0) + "/undrain")
        case.wait_for(0, "up")
        found = case.good("POST", case.of(0) + "/replace", {"address": other.address})
        assert other.address in found["text"]
        name = case.servers[0].address
        wait_until(
            lambda: case.good("GET", case.of(0))["address"] == other.address and case.state(0) == "up",
            30,
            name,
        )
        assert case.ask("POST", case.of(0) + "/rewarm/abort")[0] == 409, "none is under way"
        case.good("POST", case.of(0) + "/rewarm")
        case.wait_for(0, "up")
        wire.expect(b"get a\r\n", b"VALUE a 0 1\r\n1\r\nEND\r\n")
    assert case.ask("POST", case.of(1) + "/replace", {"address": "no address"})[0] == 422
    assert case.ask("POST", case.of(1) + "/replace", b'{"address": "\\ud800"}')[0] == 422
    assert case.ask("POST", "/v1/servers/main/nobody/drain")[0] == 404
    assert case.ask("POST", "/v1/servers/nowhere/" + quote(name) + "/drain")[0] == 404
    log = [json.loads(line) for line in case.proxy.output().splitlines()]
    acted = [line for line in log if line["event"] == "an operator acts over HTTP"]
    assert [line["request"]["verb"] for line in acted] == ["drain", "undrain", "replace", "rewarm"]
    assert {line["who"] for line in acted} == {"operator with a token"}
    assert acted[0]["peer"].startswith("127.0.0.1:")
    assert "an operator is refused over HTTP" in case.proxy.output()
    assert TOKEN not in case.proxy.output()


def test_what_there_is(case: Case):
    state = case.good("GET", "/v1/state")
    assert state["pid"] == case.proxy.pid
    assert [server["address"] for server in case.good("GET", "/v1/servers")] == [
        server.address for server in case.servers
    ]
    config = case.good("GET", "/v1/config")["config"]
    assert config["admin_operator_token"] == "**********"
    metrics = case.good("GET", "/metrics")
    assert "memagent_server_state" in {family.name for family in read_text(metrics)}
    assert case.ask("GET", "/metrics", token=None)[0] == 200, "on loopback everybody may look"
    with case.proxy.connect() as wire:
        wire.expect(b"set \xff/% 7 0 3\r\nabc\r\n", b"STORED\r\n")
    for path in ("%FF%2F%25", "/y8l?base64=true"):
        found = case.good("GET", f"/v1/keys/{path}")
        assert (found["owner"]["present"], found["owner"]["size_bytes"], found["owner"]["flags"]) == (
            True,
            3,
            7,
        )
        assert found["verdict"] == "agree"
        assert "abc" not in json.dumps(found)
    case.servers[1].pause()
    case.servers[2].pause()
    try:
        assert case.ask("GET", "/v1/keys/key")[0] in (200, 409), "it ends"
    finally:
        for server in case.servers[1:3]:
            server.resume()


def test_reload_and_log_level(case: Case):
    assert case.good("GET", "/v1/log-level") == {"level": "info"}
    assert case.good("PUT", "/v1/log-level", {"level": "debug"}) == {"level": "debug"}
    case.good("PUT", "/v1/log-level", {"level": "info"})
    text = case.proxy.config.read_text()
    case.proxy.config.write_text(f"{text}user: nobody\nmax_connections: 99\nverbose: true\n")
    found = case.good("POST", "/v1/reload")
    assert "max_connections: 4096 becomes 99" in found["changes"]
    assert found["waiting"] == ["user"]
    assert case.good("GET", "/v1/config")["config"]["max_connections"] == 99
    assert case.good("GET", "/v1/log-level") == {"level": "debug"}
    case.proxy.config.write_text(text + "nonsense: 1\n")
    status, refused = case.ask("POST", "/v1/reload")
    assert status == 409
    assert "nonsense" in refused["error"]
    case.proxy.config.write_text(text)
    case.good("POST", "/v1/reload")


def test_a_token_changes_with_a_reload(start: START, tmp_path: Path):
    secret = tmp_path / "token"
    secret.write_text("one\n")
    secret.chmod(0o600)
    case = start(admin_operator_token_file=str(secret))
    assert case.ask("POST", "/v1/reload", token="one")[0] == 200
    watching, tapping = case.connect(), case.connect()
    old = {"Authorization": "Bearer one", "Content-Type": "application/json"}
    watching.request("GET", "/v1/watch", headers=old)
    tapping.request("POST", "/v1/tap", "{}", old)
    answers = watching.getresponse(), tapping.getresponse()
    assert [answer.status for answer in answers] == [200, 200]
    secret.write_text("two\n")
    assert case.ask("POST", "/v1/reload", token="one")[0] == 200
    for connection, answer in zip((watching, tapping), answers, strict=True):
        # to its end, which is not the usual one
        assert b"event: again" not in answer.read()
        connection.close()
    assert case.ask("POST", "/v1/reload", token="one")[0] == 401
    assert case.ask("POST", "/v1/reload", token="two")[0] == 200


def test_a_flush_is_a_clients_flush(case: Case):
    with case.proxy.connect() as wire:
        wire.expect(b"set a 0 0 1\r\n1\r\n", b"STORED\r\n")
        assert case.ask("POST", "/v1/flush", {"pool": "main"})[0] == 422
        assert case.ask("POST", "/v1/flush", {"pool": "other", "confirm": "flush_all"})[0] == 404
        wire.expect(b"get a\r\n", b"VALUE a 0 1\r\n1\r\nEND\r\n")
        case.good("POST", "/v1/flush", {"pool": "main", "confirm": "flush_all"})
        wire.expect(b"get a\r\n", b"END\r\n")
    assert [server.get(b"a") for server in case.servers] == [None] * 4


def test_who_may_not(case: Case):
    for token in ("x", "", TOKEN + "x", TOKEN[:-1]):
        assert case.ask("GET", "/v1/state", token=token)[0] == 401
    assert case.ask("POST", "/v1/reload", token=None)[0] == 403
    assert case.ask("GET", "/v1/state", Host="evil.test")[0] == 421
    assert case.ask("POST", "/v1/flush", b"{}", Content_Type="text/plain")[0] == 415
    assert case.ask("POST", "/v1/flush", b"x" * 100_000)[0] == 413
    assert case.ask("POST", "/v1/flush", b"[1")[0] == 422
    wait_until(lambda: "turned away over HTTP" in case.proxy.output(), 10, "a line in the log")


def test_readiness(start: START):
    case = start(admin_operator_token=TOKEN)
    assert case.ask("GET", "/health/ready", token=None) == (200, {"ready": True, "missing": []})
    case.servers[0].kill()
    case.wait_for(0, "down")
    assert case.ask("GET", "/health/ready")[0] == 200, "its keys have a copy"
    for server in case.servers[2:]:
        server.kill()
    case.wait_for(2, "down")
    case.wait_for(3, "down")
    status, found = case.ask("GET", "/health/ready")
    assert status == 503
    assert case.servers[0].address in found["missing"][0]
    assert case.ask("GET", "/health/live", token=None) == (200, {"live": True})


def test_who_drains_is_not_ready(start: START):
    case = start(admin_operator_token=TOKEN)
    worker = case.proxy.worker_pids()[0]
    os.kill(worker, signal.SIGSTOP)
    try:
        os.kill(case.proxy.pid, signal.SIGTERM)
        wait_until(lambda: case.ask("GET", "/health/ready")[0] == 503, 10, "not ready")
        assert case.ask("GET", "/health/ready")[1]["missing"] == ["the proxy is ending"]
        assert case.ask("POST", "/v1/reload")[0] == 409
    finally:
        os.kill(worker, signal.SIGCONT)
    assert case.proxy.stop() == 0


def test_a_unix_socket_is_for_its_owner(start: START, tmp_path: Path):
    path = tmp_path / "admin"
    case = start(f"unix:{path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert case.ask("POST", "/v1/reload", token=None)[0] == 200
    assert f'"peer": "unix uid {os.getuid()} pid {os.getpid()}"' in case.proxy.output()
    assert case.proxy.stop() == 0
    assert not path.exists()


def test_where_everybody_reaches_it_nobody_is_let_in_without_a_token(start: START):
    port = free_port()
    case = start(f"0.0.0.0:{port}", admin_read_token="look")
    case.listen = f"127.0.0.1:{port}"
    assert case.ask("GET", "/v1/state", token=None)[0] == 401
    assert case.ask("GET", "/openapi.json", token=None)[0] == 401
    assert case.ask("GET", "/v1/state", token="look")[0] == 200
    assert case.ask("GET", "/v1/state", token="look", Host="proxy.test")[0] == 200
    assert case.ask("POST", "/v1/reload", token="look")[0] == 403
    assert case.ask("GET", "/health/ready", token=None) == (200, {"ready": True, "missing": None})


def test_a_start_that_must_not_be(case: Case, tmp_path: Path):
    assert "set admin_read_token or admin_operator_token" in refused_start(tmp_path, "0.0.0.0:1")
    taken = refused_start(tmp_path, case.listen)
    assert taken.startswith(f"magent: error: admin_listen {case.listen}: Address already in use")


def test_without_the_libraries(tmp_path: Path):
    for name in ("fastapi", "uvicorn"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"{name}.py").write_text(f"raise ImportError(name={name!r})")
        said = refused_start(tmp_path, f"127.0.0.1:{free_port()}", f"{folder}:")
        assert f"admin_listen needs what is not installed: {name}" in said
        assert "pip install 'memagent[admin]'" in said


def refused_start(tmp_path: Path, listen: str, path: str = "") -> str:
    """What a proxy says that does not start."""
    config = tmp_path / "magent.yaml"
    pools = "pools: {main: {servers: [127.0.0.1]}}"
    config.write_text(f"listen: [127.0.0.1:{free_port()}]\nadmin_listen: {listen}\n{pools}\n")
    command = [sys.executable, "-m", "memagent", "run", "-c", str(config)]
    environment = {**os.environ, "PYTHONPATH": f"{path}{ROOT / 'src'}"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    return done.stderr


QUICK = settings(
    max_examples=5,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


def test_whatever_is_asked_is_answered_as_openapi_says(start: START):
    case = start(admin_operator_token="act", admin_read_token="look")
    document = case.ask("GET", "/openapi.json", token="act")[1]
    schema = schemathesis.openapi.from_dict(document)
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in GenerationMode:
            tokens = st.sampled_from(["act", "look", ""])
            asked = st.tuples(operation.as_strategy(generation_mode=mode), tokens)

            @seed(1)
            @QUICK
            @given(asked)
            def probe(asked: tuple[Any, str]) -> None:
                request, token = asked
                headers = {"Authorization": f"Bearer {token}"} if token else {}
                request.headers.pop("Authorization", None)
                answer = request.call(base_url=f"http://{case.listen}", headers=headers, timeout=20)
                request.validate_response(answer, checks=CHECKS)

            with contextlib.suppress(Unsatisfiable):  # nothing about it can be wrong
                probe()
    assert case.proxy.alive
    assert "Traceback" not in case.proxy.output()
    assert "mistake of ours" not in case.proxy.output()
    assert len(case.proxy.worker_pids()) == 1
