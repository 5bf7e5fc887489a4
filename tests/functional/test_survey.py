"""All keys of a running proxy's servers, counted for the page: as the page asks, over HTTP."""

import base64
import contextlib
import http.client
import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support import processes
from tests.support.memcached import Memcached
from tests.support.ports import free_port
from tests.support.proxy import Proxy
from tests.support.wait import wait_until

KEYS = [b"user:%d:name" % number for number in range(300)]


class Case:
    """Servers a and b, their backup x, and a proxy."""

    def __init__(self, servers: list[Memcached], start: Callable[..., Proxy], **pool: Any) -> None:
        self.servers = servers
        self.listen = f"127.0.0.1:{free_port()}"
        named = [{"address": each.address, "name": name} for each, name in zip(servers, "abx", strict=True)]
        self.proxy = start(
            named[:2],
            named[2:],
            pool={"probe_max_ms": 100, **pool},
            settings={"admin_listen": self.listen},
        )

    @contextlib.contextmanager
    def asked(self, **wish: Any) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(self.listen, timeout=30)
        try:
            connection.request("GET", f"/v1/survey?{urlencode({'pool': 'main', **wish})}")
            yield connection.getresponse()
        finally:
            connection.close()

    def ask(self, **wish: Any) -> Any:
        with self.asked(**wish) as answer:
            assert answer.status == 200
            *progress, last = [json.loads(line) for line in answer]
        assert all(list(each) == ["progress"] for each in progress)
        return last["result"]

    def status(self, **wish: Any) -> int:
        with self.asked(**wish) as answer:
            return answer.status

    def is_down(self, name: str) -> bool:
        connection = http.client.HTTPConnection(self.listen, timeout=30)
        connection.request("GET", f"/v1/servers/main/{name}")
        found = json.loads(connection.getresponse().read())
        connection.close()
        return bool(found["state"] == "down")

    def surveys(self) -> list[int]:
        """The processes that count."""
        return [
            pid
            for pid in processes.children(self.proxy.pid)
            if "memagent.survey" in processes.command_line(pid) and processes.exists(pid)
        ]


@pytest.fixture
def servers(memcached_factory: Callable[..., Memcached]) -> list[Memcached]:
    return [memcached_factory(version) for version in ("old", "new", "old")]


def test_how_keys_spread_and_where_they_are(servers: list[Memcached], proxy_factory: Callable[..., Proxy]):
    case = Case(servers, proxy_factory)
    with case.proxy.connect() as wire:
        for key in KEYS:
            wire.expect(b"set %b 0 0 5\r\nvalue\r\n" % key, b"STORED\r\n")
    backup = servers[2]
    wait_until(lambda: backup.stats()["curr_items"] == "300", 5, "all copies")
    with backup.connect() as wire:
        for key in KEYS[:3]:
            wire.expect(b"delete %b\r\n" % key, b"DELETED\r\n")
    backup.set(b"user:\xff", b"only here")
    found = case.ask(what="distribution")
    assert found["totals"]["owners"] == 300
    assert (found["totals"]["keys"], found["totals"]["no_copy"], found["totals"]["only_copy"]) == (598, 3, 1)
    assert {each["key"].encode() for each in found["examples"]["no_copy"]} == set(KEYS[:3])
    assert [each["key_base64"] for each in found["examples"]["only_copy"]] == ["dXNlcjr/"]
    assert [(each["name"], each["backup"]) for each in found["holders"]] == [
        *(("a", False), ("b", False), ("x", True))
    ]
    assert sum(each["keys"] for each in found["holders"]) == 598

    found = case.ask(
        what="browse", prefix_base64=base64.urlsafe_b64encode(b"user:1").decode(), pattern="*9:*"
    )
    wanted = sorted(key.decode() for key in KEYS if key.startswith(b"user:1") and key.endswith(b"9:name"))
    assert [each["key"] for each in found["keys"]] == wanted
    assert found["matched"]["keys"] == len(wanted) == sum(each["keys"] for each in found["groups"])
    of_backup = case.ask(what="browse", server="x", backup="true")
    assert [each["key"] for each in of_backup["keys"]][-1] == "user:\\xff"
    assert of_backup["groups"][0]["prefix"] == "user:"

    # Where a server is down, its keys are found at their copies.
    servers[1].kill()
    wait_until(lambda: case.is_down("b"), 10, "b to be down")
    found = case.ask(what="browse")
    assert {each["server"] for each in found["keys"]} == {"a", "x"}
    assert found["matched"]["keys"] >= 297
    assert [each["server"] for each in found["not_asked"]] == ["b"]


def test_it_ends_with_whoever_wants_it(servers: list[Memcached], proxy_factory: Callable[..., Proxy]):
    case = Case(servers, proxy_factory, request_timeout_ms=60_000)
    # It waits for this one, long enough for all that follows.
    servers[0].pause()
    with case.asked(what="browse") as answer:
        assert b"progress" in answer.readline()
        assert len(case.surveys()) == 1
        assert case.status(what="distribution") == 409
    wait_until(lambda: not case.surveys(), 10, "an end where the client left")
    with contextlib.closing(http.client.HTTPConnection(case.listen, timeout=30)) as connection:
        connection.request("GET", "/v1/survey?pool=main&what=browse")
    wait_until(lambda: case.status(what="browse") == 200, 10, "an end where it did not wait for an answer")
    wait_until(lambda: not case.surveys(), 10, "the end of all")

    with case.asked(what="distribution") as answer:
        answer.readline()
        [pid] = case.surveys()
        os.kill(pid, signal.SIGKILL)
        last = json.loads(answer.read().splitlines()[-1])
    assert last["error"] == "the process that counts keys ended: killed by SIGKILL"

    with case.asked(what="browse") as answer:
        answer.readline()
        [pid] = case.surveys()
        os.kill(case.proxy.pid, signal.SIGKILL)
        wait_until(lambda: not processes.exists(pid), 10, "an end where the supervisor died")
    servers[0].resume()
