"""Servers' names -> IP addresses, without ever waiting for a name server on the event loop.

- A host that is an IP address already is its own and only address.
- A name that cannot be resolved keeps the addresses that it had last.
- A lookup has a deadline; the thread of one that never ends is left behind and keeps nobody from exiting.
- A name is looked up at most once per `min_interval_s`, however often it is asked for: many workers find out
  at the same moment that a server does not answer.
"""

import asyncio
import ipaddress
import socket
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from memagent.threads import in_thread

Addresses = tuple[str, ...]
Lookup = Callable[[str], Addresses]


def lookup(host: str) -> Addresses:
    """All IP addresses of a name, in the system's order of preference. OSError if there are none."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(_text(sockaddr) for *_, sockaddr in found))


def is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class Resolver:
    """Remembers what each name meant last; tells `on_change` and `on_failure` what is new."""

    def __init__(
        self,
        on_change: Callable[[str, Addresses], None],
        on_failure: Callable[[str, str], None],
        deadline_s: float = 5.0,
        min_interval_s: float = 1.0,
        lookup: Lookup = lookup,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_change = on_change
        self._on_failure = on_failure
        self._deadline_s = deadline_s
        self._min_interval_s = min_interval_s
        self._lookup = lookup
        self._clock = clock
        self._known: dict[str, Addresses] = {}
        self._asked_at_s: dict[str, float] = {}
        self._told_failure: dict[str, str] = {}
        self._under_way: dict[str, asyncio.Task[None]] = {}

    def known(self, host: str) -> Addresses:
        """What is known now; nothing for a name that has never been resolved."""
        return (host,) if is_literal(host) else self._known.get(host, ())

    async def resolve(self, host: str) -> Addresses:
        """Look the name up, unless that has just been done."""
        if is_literal(host):
            return (host,)
        task = self._under_way.get(host)
        if task is None:
            asked_at_s = self._asked_at_s.get(host)
            if asked_at_s is not None and self._clock() - asked_at_s < self._min_interval_s:
                return self.known(host)
            self._asked_at_s[host] = self._clock()
            task = asyncio.create_task(self._refresh(host))
            self._under_way[host] = task
            task.add_done_callback(lambda _: self._under_way.pop(host))
        # Shielded: who gives up waiting must not end the lookup that others wait for.
        await asyncio.shield(task)
        return self.known(host)

    async def resolve_all(self, hosts: Iterable[str]) -> None:
        await asyncio.gather(*(self.resolve(host) for host in dict.fromkeys(hosts)))

    async def _refresh(self, host: str) -> None:
        try:
            addresses = await asyncio.wait_for(
                in_thread(partial(self._lookup, host), f"resolve {host}"), self._deadline_s
            )
        except TimeoutError:
            self._tell_failure(host, f"no answer within {self._deadline_s:g} s")
            return
        except (OSError, UnicodeError) as error:
            self._tell_failure(host, getattr(error, "strerror", None) or str(error))
            return
        self._told_failure.pop(host, None)
        if set(addresses) != set(self._known.get(host, ())):
            # Name servers rotate their answers: another order alone is no change.
            self._known[host] = addresses
            self._on_change(host, addresses)

    def _tell_failure(self, host: str, why: str) -> None:
        # Every probe of a down server asks again: the same news would fill the log.
        if self._told_failure.get(host) != why:
            self._told_failure[host] = why
            self._on_failure(host, why)


def _text(sockaddr: tuple[Any, ...]) -> str:
    host = str(sockaddr[0])
    scope = sockaddr[3] if len(sockaddr) == 4 else 0
    return f"{host}%{scope}" if scope and "%" not in host else host
