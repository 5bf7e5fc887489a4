"""What operators ask of a running proxy over its control socket, and what they are told meanwhile.

    Request ─▶ which server? may it be? ─▶ lifecycle ─▶ progress, until it is so ─▶ the last line

What is asked for goes on when nobody listens any more: only the telling is here.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

from memagent.addresses import Address, parse_address
from memagent.admin import requests
from memagent.admin.requests import InvalidError, OfServer, RefusedError, Request, UnknownError
from memagent.counts import Counts
from memagent.fleet import Member
from memagent.leader import Leader, Move
from memagent.lifecycle import Life
from memagent.migrator import Migrator
from memagent.observing import Observing
from memagent.reload import Plan
from memagent.rewarm.job import Pause, Resume
from memagent.snapshot import Snapshot, as_json
from memagent.units import quoted

_LOOK_EVERY_S: Final = 0.05
_TELL_EVERY_S: Final = 1.0

Resolve = Callable[[str], Awaitable[tuple[str, ...]]]


class Operators:
    """All but the leader is what that does not know: a function for each."""

    def __init__(
        self,
        leader: Leader,
        migrator: Migrator,
        snapshot: Callable[[], Snapshot],
        metrics: Callable[[str], tuple[str, bytes]],
        count: Callable[[Snapshot], Counts],
        addresses_of: Callable[[int], tuple[str, ...]],
        resolve: Resolve,
        reload: Callable[[], Awaitable[Plan]],
        set_verbose: Callable[[bool, float | None], Awaitable[None]],
        flush_pool: Callable[[str], Awaitable[None]],
        flush_server: Callable[[str], Awaitable[None]],
        observing: Observing,
        upgrade: Callable[[bool, float], AsyncGenerator[dict[str, Any], None]],
    ) -> None:
        self._leader = leader
        self._migrator = migrator
        self._snapshot = snapshot
        self._metrics = metrics
        self._count = count
        self._addresses_of = addresses_of
        self._resolve = resolve
        self._reload = reload
        self._set_verbose = set_verbose
        self._flush_pool = flush_pool
        self._flush_at = flush_server
        self._observing = observing
        self._upgrade = upgrade

    async def answer(self, request: Request) -> AsyncGenerator[dict[str, Any], None]:
        """Progress, then the last line; RefusedError."""
        match request:
            case requests.Snapshot():
                yield {"ok": True, "snapshot": as_json(self._snapshot())}
            case requests.Metrics():
                content_type, shown = self._metrics(request.accept)
                yield {"ok": True, "content_type": content_type, "text": shown.decode()}
            case requests.Counters():
                snapshot = self._snapshot()
                counts = as_json(self._count(snapshot))
                yield {"ok": True, "snapshot": as_json(snapshot), "counts": counts}
            case requests.Config():
                yield self._config()
            case requests.Reload():
                made = await self._reload()
                moving = self._migrator.under_way
                yield {"ok": True, "changes": made.changes, "waiting": made.waiting, "moving": moving}
            case requests.LogLevel(level=level, for_s=for_s):
                if level is not None:
                    await self._set_verbose(level == "debug", for_s)
                elif for_s is not None:
                    raise InvalidError("for_s: for so long which level?")
                is_verbose = self._leader.fleet.config.verbose
                yield {"ok": True, "level": "debug" if is_verbose else "info"}
            case requests.Flush(pool=pool):
                self._check_pool(pool)
                await self._flush_pool(pool)
                yield {"ok": True}
            case requests.FlushServer():
                member = self._find(request)
                await self._flush_server(member)
                yield self._last(member)
            case requests.Hot(count=count):
                yield {"ok": True, "hot": as_json(self._observing.hot(count))}
            case requests.Slow(count=count):
                yield {"ok": True, "slow": as_json(self._observing.slow(count))}
            case requests.Tap():
                async with aclosing(self._tap(request)) as lines:
                    async for line in lines:
                        yield line
            case requests.Upgrade():
                async with aclosing(self._upgrade(request.force, request.ready_ms / 1000)) as lines:
                    async for line in lines:
                        yield line
            case requests.MigrationControl():
                self._control_migration(request)
                yield {"ok": True, "migrations": as_json(self._snapshot())["migrations"]}
            case requests.Look():
                yield self._last(self._find(request))
            case requests.RewarmControl():
                member = self._find(request)
                self._control_rewarm(member, request.verb)
                yield self._last(member)
            case requests.Drain():
                member = self._find(request)
                self._drain(member, request)
                async for line in self._follow(member, request.wait, _is_drained):
                    yield line
            case requests.Undrain():
                member = self._find(request)
                self._undrain(member)
                async for line in self._follow(member, request.wait, _is_up):
                    yield line
            case requests.Replace():
                member = self._find(request)
                text = await self._replace(member, request)
                async for line in self._follow(member, request.wait, _is_up):
                    yield {**line, "text": text} if "ok" in line else line
            case requests.Rewarm():
                member = self._find(request)
                self._rewarm(member)
                async for line in self._follow(member, request.wait, _is_up):
                    yield line

    # ------------------------------------------------------------ verbs

    def _config(self) -> dict[str, Any]:
        fleet = self._leader.fleet
        addresses = [self._tried(member) for member in fleet.members.values()]
        return {"ok": True, "config": fleet.config.model_dump(mode="json"), "addresses": addresses}

    async def _flush_server(self, member: Member) -> None:
        life, name = self._life(member), member.server.name
        if life.state == "down":
            raise RefusedError(f"{name} is down", "restart it, and it comes back empty")
        if life.warm_runs:
            raise RefusedError(f"{name} is being refilled", "wait until that is done, or abort it")
        await self._flush_at(next(iter(self._tried(member)), member.address))

    async def _tap(self, request: requests.Tap) -> AsyncGenerator[dict[str, Any], None]:
        """Progress only, until nobody listens any more."""
        number = None
        if request.server is not None:
            named = OfServer(server=request.server, pool=request.pool, backup=request.backup)
            number = self._find(named).number
        tapped = self._observing.tap(
            prefix=request.prefix, server=number, verb=request.of_verb, per_s=request.per_s
        )
        async with aclosing(tapped) as looks:
            async for look in looks:
                yield {"progress": as_json(look)}

    def _drain(self, member: Member, request: requests.Drain) -> None:
        life = self._life(member)
        if life.after == "replace":
            raise RefusedError(f"{member.server.name} is being replaced", "wait until that is done")
        if not request.force and life.state == "up":
            self._check_copies(member, "drained")
        self._leader.lifecycle.hold(member.number)
        self._tell_held(member, "drain")

    def _undrain(self, member: Member) -> None:
        life = self._life(member)
        if life.after == "replace":
            raise RefusedError(f"{member.server.name} is being replaced", "wait until that is done")
        if not life.held:
            raise RefusedError(f"{member.server.name} is not drained: it is {life.state}")
        self._leader.lifecycle.release(member.number)
        self._tell_held(member, "undrain")

    async def _replace(self, member: Member, request: requests.Replace) -> str:
        self._check_replace(member, request)
        address = parse_address(request.address)
        addresses: tuple[str, ...] = ()
        if address.path is None:
            addresses = await self._resolve(address.host)
            if not addresses:
                raise InvalidError(f"{quoted(address.host)} has no address", "is the name right?")
            # Meanwhile servers may have fallen, and others may have asked for the same.
            self._check_replace(member, request)
        server = self._leader.fleet.with_address(member.number, request.address)
        self._leader.move(member.number, Move(server, addresses), request.keep_data)
        self._tell_held(member, "replace")
        part = "backups" if member.backup else "servers"
        entry = f"address: {server.address}"
        if server.named:
            entry += f", name: {server.name}"
        if server.weight != 1:
            entry += f", weight: {server.weight}"
        return (
            f"change the configuration file too, or a restart goes back to {member.address}: "
            f"pool {member.pool.name}, {part}: {{{entry}}}"
        )

    def _rewarm(self, member: Member) -> None:
        life, name = self._life(member), member.server.name
        if not member.pool.has_copies:
            raise RefusedError(f"the pool {member.pool.name} has no copies to fill {name} from")
        if life.warm_runs or life.asked:
            return
        if life.held:
            raise RefusedError(f"{name} is {life.state}", "undrain it first")
        if life.state == "down":
            raise RefusedError(f"{name} is down", "it is filled by itself when it comes back empty")
        sources = self._leader.fleet.sources(member.number)
        if not any(self._leader.lifecycle.lives[each].state == "up" for each in sources):
            raise RefusedError(f"no server that has copies of {name}'s keys is up")
        self._leader.lifecycle.ask_rewarm(member.number)
        self._tell_held(member, "rewarm")

    def _control_rewarm(self, member: Member, verb: str) -> None:
        leader, number = self._leader, member.number
        match verb:
            case "rewarm_abort":
                done = leader.abort_warm(number)
            case "rewarm_pause":
                done = leader.lifecycle.pause(number, True)
                leader.rewarms.tell(number, Pause())
            case _:
                done = leader.lifecycle.pause(number, False)
                leader.rewarms.tell(number, Resume())
        if not done:
            raise RefusedError(f"no re-warm of {member.server.name} is under way")
        leader.wake()

    def _control_migration(self, request: requests.MigrationControl) -> None:
        pool, under_way = request.pool, self._migrator.under_way
        if pool is None:
            if len(under_way) != 1:
                what = f"keys of {', '.join(under_way)} are moving" if under_way else "no keys are moving"
                raise RefusedError(what, "say the pool, with --pool" if under_way else None)
            pool = under_way[0]
        match request.verb:
            case "migration_abort":
                done = self._migrator.abort(pool)
            case "migration_pause":
                done = self._migrator.pause(pool, True)
            case _:
                done = self._migrator.pause(pool, False)
        if not done:
            self._check_pool(pool)
            raise RefusedError(f"no keys of the pool {pool} are moving")

    # ------------------------------------------------------------ parts of them

    def _tried(self, member: Member) -> list[str]:
        """Where it is sought: its name's addresses, as far as they are known."""
        if member.host is None:
            return [member.address]
        return [str(Address(each, member.server.port, None)) for each in self._addresses_of(member.number)]

    def _check_pool(self, name: str) -> None:
        known = [pool.name for pool in self._leader.fleet.config.pools]
        if name not in known:
            raise UnknownError(f"there is no pool {quoted(name)}", f"there are {', '.join(known)}")

    def _find(self, request: OfServer) -> Member:
        found = self._leader.fleet.find(request.server, request.pool, request.backup)
        if len(found) == 1:
            return found[0]
        if not found:
            known = ", ".join(dict.fromkeys(each.server.name for each in self._leader.fleet.members.values()))
            raise UnknownError(f"there is no server {quoted(request.server)}", f"there are {known}")
        which = ", ".join(
            f"{'backup' if each.backup else 'server'} of the pool {each.pool.name}" for each in found
        )
        hint = "say the pool, as POOL/SERVER, and whether it is a backup"
        raise RefusedError(f"{quoted(request.server)} may be: {which}", hint)

    def _life(self, member: Member) -> Life:
        life = self._leader.lifecycle.lives.get(member.number)
        if life is None:
            raise RefusedError(f"{member.server.name} is not configured any more")
        return life

    def _check_replace(self, member: Member, request: requests.Replace) -> None:
        """RefusedError if it must not be put there now."""
        if self._life(member).after == "replace":
            raise RefusedError(f"{member.server.name} is being replaced", "wait until that is done")
        if member.pool.migration is not None:
            raise RefusedError(
                f"keys of the pool {member.pool.name} are moving to other servers",
                "wait until magent migration says that it is done",
            )
        try:
            self._leader.fleet.with_address(member.number, request.address)
        except ValueError as error:
            raise InvalidError(f"address: {error}") from None
        for number, (other, *_) in self._leader.moves.items():
            if (other.host, other.port, other.path) == parse_address(request.address):
                raise RefusedError(
                    f"address: {quoted(request.address)} is about to be {self._leader.name(number)}"
                )
        if not request.force and self._life(member).state == "up":
            self._check_copies(member, "replaced")

    def _check_copies(self, member: Member, what: str) -> None:
        """RefusedError if keys would be out of reach."""
        name = member.server.name
        if not member.pool.has_copies:
            raise RefusedError(
                f"{name} holds the only copy of its keys: while it is {what} they are out of reach",
                f"the pool {member.pool.name} has no backups and no copies: 2",
                can_force=True,
            )
        lives = self._leader.lifecycle.lives
        missing = [
            f"{self._leader.name(each)} is {lives[each].state}"
            for each in self._leader.fleet.sources(member.number)
            if lives[each].state != "up"
        ]
        if missing:
            raise RefusedError(
                f"some keys of {name} have no other live copy: {', '.join(missing)}",
                "wait until that is up again",
                can_force=True,
            )

    def _tell_held(self, member: Member, verb: str) -> None:
        life = self._life(member)
        life.reason = f"told to {verb}"
        self._leader.tell_held()
        self._leader.look()
        self._leader.wake()

    async def _follow(
        self, member: Member, wait: bool, is_done: Callable[[Life], bool]
    ) -> AsyncIterator[dict[str, Any]]:
        """The server as it goes along, then the last line; RefusedError if somebody else has other wishes."""
        told_state, told_s = "", 0.0
        is_drain = is_done is _is_drained
        while wait and not is_done(life := self._life(member)):
            if _is_to_stay_out(life) is not is_drain:
                done = "undrained or replaced" if is_drain else "drained"
                raise RefusedError(f"{member.server.name} was {done} meanwhile: it is {life.state}")
            now_s, state = time.monotonic(), life.state
            if state != told_state or now_s - told_s >= _TELL_EVERY_S:
                told_state, told_s = state, now_s
                yield {"progress": as_json(self._leader.server_snapshot(member.number))}
            await asyncio.sleep(_LOOK_EVERY_S)
        yield self._last(member)

    def _last(self, member: Member) -> dict[str, Any]:
        return {"ok": True, "server": as_json(self._leader.server_snapshot(member.number))}


def _is_to_stay_out(life: Life) -> bool:
    return life.held and life.after == "stay"


def _is_drained(life: Life) -> bool:
    return life.state == "drained" and _is_to_stay_out(life)


def _is_up(life: Life) -> bool:
    return life.state == "up" and not life.held
