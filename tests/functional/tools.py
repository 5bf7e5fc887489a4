"""What functional and adversity tests share: where keys live, transcripts, gauges that return to zero."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.support.memcached import Memcached
from tests.support.processes import ROOT
from tests.support.proxy import Proxy
from tests.support.wait import wait_until
from tests.support.wire import Wire

SERVER_ERROR = re.compile(rb"SERVER_ERROR [ -~]+\r\n")
"""behaviour.md names the kind of the line, not its words."""

_CAS = re.compile(rb"(VALUE \S+ \d+ \d+) \d+\r\n")


@dataclass
class Shop:
    """A proxy and the servers behind it, in the order of its configuration."""

    servers: list[Memcached]
    proxy: Proxy

    _owned: dict[tuple[str, int], list[bytes]] = field(default_factory=dict)

    def keys_of(self, index: int, count: int, prefix: str = "key") -> list[bytes]:
        """So many keys that `magent route` puts on one server; always the same ones."""
        if (prefix, index) not in self._owned:
            keys = [b"%b:%d" % (prefix.encode(), number) for number in range(400)]
            for key, owner in zip(keys, route(self.proxy, keys), strict=True):
                self._owned.setdefault((prefix, owner), []).append(key)
        found = self._owned[prefix, index]
        assert len(found) >= count, f"only {len(found)} of 400 keys on server {index}"
        return found[:count]


def magent(*args: str, given: bytes = b"", expect: int = 0) -> str:
    """Output of one run of the command."""
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, "-m", "memagent", *args]
    done = subprocess.run(
        command, input=given, capture_output=True, env={**os.environ, "PYTHONPATH": path}, timeout=60
    )
    assert done.returncode == expect, f"{command} ended with {done.returncode}: {done.stderr.decode()}"
    return done.stdout.decode()


def route(proxy: Proxy, keys: Sequence[bytes]) -> list[int]:
    """Where `magent route` says that keys live, as positions in `servers`."""
    given = b"\n".join(keys) + b"\n"
    lines = magent("route", "-c", str(proxy.config), "--json", "-", given=given).splitlines()
    assert len(lines) == len(keys)
    return [int(json.loads(line)["index"]) for line in lines]


def without_cas(reply: bytes) -> bytes:
    """Two servers count their cas tokens apart."""
    return _CAS.sub(rb"\1 CAS\r\n", reply)


def item(key: bytes, value: bytes, flags: int = 0) -> bytes:
    return b"VALUE %b %d %d\r\n%b\r\n" % (key, flags, len(value), value)


def storage(verb: bytes, key: bytes, value: bytes, rest: bytes = b"0 0", tail: bytes = b"") -> bytes:
    return b"%b %b %b %d%b\r\n%b\r\n" % (verb, key, rest, len(value), tail, value)


def store(wire: Wire, items: Mapping[bytes, bytes]) -> None:
    for key, value in items.items():
        wire.send(storage(b"set", key, value))
    wire.expect(b"", b"STORED\r\n" * len(items))


def cas_of(wire: Wire, key: bytes) -> bytes:
    line = wire.ask(b"gets " + key + b"\r\n")
    wire.read_until(b"END\r\n")
    return line.split()[4]


def gauges(proxy: Proxy) -> dict[str, int]:
    """What is under way or held now, this question's own connection and exchange included."""
    with proxy.connect() as wire:
        general, servers = wire.stats(), wire.stats("servers")
    wanted = ("exchanges", "buffered_bytes", "curr_connections")
    found = {name: int(general[name]) for name in wanted}
    for name, value in servers.items():
        if name.rpartition(":")[2] in ("pending", "in_flight", "queued_bytes"):
            found[name] = int(value)
    return found


def wait_idle(proxy: Proxy, before: Mapping[str, int], deadline_s: float = 5.0) -> None:
    """Nothing is left of what a test did: every gauge is what it was in `before`, when the proxy was idle."""

    def is_idle() -> bool:
        now = gauges(proxy)
        return all(now[name] <= before.get(name, 0) for name in now)

    try:
        wait_until(is_idle, deadline_s, "every gauge to return to where it was")
    except TimeoutError:
        now = gauges(proxy)
        over = {name: (before.get(name, 0), now[name]) for name in now if now[name] > before.get(name, 0)}
        raise AssertionError(f"gauges (before, now): {over}") from None
