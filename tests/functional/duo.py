"""A key's owner and its copy behind a proxy: looking at both sides, and waiting until they agree."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.functional.tools import item
from tests.support.memcached import Memcached
from tests.support.proxy import Proxy
from tests.support.relay import Relay
from tests.support.wait import wait_until
from tests.support.wire import Wire

QUICK: dict[str, Any] = {"request_timeout_ms": 400, "probe_max_ms": 200}
LATE_S = 0.4 + 0.25
"""behaviour.md's bound: the time limit of a request and 250 ms."""

SETTLED_S = 10.0


@dataclass(frozen=True)
class Item:
    """What a server itself holds."""

    value: bytes
    flags: int
    ttl_s: int
    """-1: for ever."""

    def is_like(self, other: "Item | None") -> bool:
        """The same, as far as two clocks of whole seconds can tell."""
        return (
            other is not None
            and (self.value, self.flags) == (other.value, other.flags)
            and (self.ttl_s == -1) == (other.ttl_s == -1)
            and abs(self.ttl_s - other.ttl_s) <= 1
        )


def look(server: Memcached, key: bytes) -> Item | None:
    with server.connect() as wire:
        line = wire.ask(b"mg " + key + b" v f t\r\n").split()
        if line[0] == b"EN":
            return None
        assert line[0] == b"VA", line
        value = wire.read_exact(int(line[1]) + 2)[:-2]
        found = {word[:1]: int(word[1:]) for word in line[2:]}
        return Item(value, found[b"f"], found[b"t"])


def drop(server: Memcached, key: bytes) -> None:
    """Take a key away behind the proxy's back."""
    with server.connect() as wire:
        wire.expect(b"delete " + key + b"\r\n", b"DELETED\r\n")


def another_second(than: float) -> None:
    """A process is told from the next one at its address by the second in which it was started, too."""
    wait_until(lambda: time.time() > than + 1.1, what="another second")


def hit(key: bytes, value: bytes, flags: int = 0) -> bytes:
    return item(key, value, flags) + b"END\r\n"


@dataclass
class Duo:
    """One server, one backup: every key is on both."""

    owner: Memcached
    copy: Memcached
    proxy: Proxy
    relays: list[Relay] = field(default_factory=list)
    _started: float = field(default_factory=time.time)

    def restart(self, server: Memcached) -> None:
        """Empty, and another process."""
        another_second(self._started)
        server.restart()
        self._started = time.time()

    def stat(self, which: str, name: str) -> int:
        part = "" if which == "owner" else ":backup"
        found = self.proxy.stats("servers")
        [value] = [
            value
            for each, value in found.items()
            if each.endswith(f":{name}") and (":backup:" in each) == bool(part)
        ]
        return int(value)

    def is_up(self, which: str) -> bool:
        return self.stat(which, "up") == 1 and self.stat(which, "state") == 0

    def wait_up(self, *which: str, deadline_s: float = SETTLED_S) -> None:
        for each in which or ("owner", "copy"):
            wait_until(lambda each=each: self.is_up(each), deadline_s, f"{each} to be up")  # type: ignore[misc]

    def wait_down(self, which: str) -> None:
        wait_until(lambda: not self.is_up(which), SETTLED_S, f"{which} to be down")

    def wait_same(self, key: bytes, value: bytes | None, deadline_s: float = SETTLED_S) -> Item | None:
        """Both hold this value, or None, and are alike in everything."""

        def agree() -> bool:
            one, two = look(self.owner, key), look(self.copy, key)
            if value is None:
                return one is None and two is None
            return one is not None and one.value == value and one.is_like(two)

        def said() -> str:
            return f"{value!r} on both; {look(self.owner, key)} and {look(self.copy, key)}"

        wait_until(agree, deadline_s, said)
        return look(self.owner, key)


def get(wire: Wire, key: bytes) -> bytes | None:
    reply = wire.ask(b"get " + key + b"\r\nmn\r\n", b"MN\r\n").removesuffix(b"MN\r\n")
    if reply == b"END\r\n":
        return None
    assert reply.startswith(b"VALUE "), reply
    return reply.partition(b"\r\n")[2].removesuffix(b"\r\nEND\r\n")


StartDuo = Callable[..., Duo]
