"""The servers' names: what each means is looked up, now and then anew, and told to the workers."""

import asyncio
from collections.abc import Callable, Iterable

from memagent.control import Addresses, ToWorker
from memagent.fleet import Fleet
from memagent.logs import Logger
from memagent.resolver import Resolver
from memagent.settings import Config


class Names:
    """`resolver` knows what they mean now."""

    def __init__(self, fleet: Fleet, tell_all: Callable[[ToWorker], None], log: Logger) -> None:
        self.resolver = Resolver(self._changed, self._failed)
        self._fleet = fleet
        self._tell_all = tell_all
        self._log = log

    def addresses_of(self, server: int) -> tuple[str, ...]:
        """What its name means now; nothing for a Unix socket."""
        host = self._fleet.members[server].host
        return () if host is None else self.resolver.known(host)

    async def ask(self, server: int) -> Addresses:
        """Somebody could not reach it: does its name mean something else by now?"""
        host = self._fleet.members[server].host
        return Addresses(server, await self.resolver.resolve(host) if host is not None else ())

    async def look_up_all(self) -> None:
        """Of every server that is configured."""
        await self._look_up(member.host for member in self._fleet.members.values())

    async def look_up_new(self, config: Config) -> None:
        """Those that are not known yet, of servers that are about to be configured."""
        servers = (server for pool in config.pools for server in (*pool.servers, *pool.backups))
        hosts = (server.host for server in servers if server.path is None)
        await self._look_up(host for host in hosts if not self.resolver.known(host))

    async def keep_up(self) -> None:
        """Until it is cancelled, as often as `dns_refresh_ms` says."""
        while True:
            await asyncio.sleep(self._fleet.config.dns_refresh_ms / 1000)
            await self.look_up_all()

    async def _look_up(self, hosts: Iterable[str | None]) -> None:
        await self.resolver.resolve_all(host for host in hosts if host is not None)

    def _changed(self, host: str, addresses: tuple[str, ...]) -> None:
        self._log.info("name resolved", name=host, addresses=addresses)
        for member in self._fleet.members.values():
            if member.host == host:
                self._tell_all(Addresses(member.number, addresses))

    def _failed(self, host: str, why: str) -> None:
        kept = self.resolver.known(host)
        self._log.warning("name cannot be resolved", name=host, why=why, addresses_kept=kept)
