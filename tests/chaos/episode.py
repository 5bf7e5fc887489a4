"""One episode: a pool or two, clients at work, faults one or two at a time, a last look when all is quiet.

fill ──▶ work while faults come and go ──▶ everything whole ──▶ clients stop ──▶ owner == copy, read all
"""

import asyncio
import random
import time
from dataclasses import dataclass, field

from tests.chaos import actors, faults
from tests.chaos.client import Client, Gone
from tests.chaos.conditional import Log
from tests.chaos.evidence import evidence
from tests.chaos.holders import NEVER
from tests.chaos.load import Hand, Load
from tests.chaos.models import Model, Register, Violation
from tests.chaos.schedule import Blow, Draw, rounds
from tests.chaos.world import Variant, World

WHOLE_S = 40.0
"""The longest that a pool may take to be whole again after its last fault."""

REFILL_S = 4.0
EQUAL_S = 15.0
SHOWN_IN_FULL = 5
"""Of each kind."""

POLL_S = 0.1


@dataclass
class Result:
    variant: Variant
    started: float = 0.0
    violations: list[Violation] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
    replies: int = 0
    slowest_s: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    differing_shared: int = 0
    differing_lost: int = 0
    single: int = 0
    unfilled: int = 0

    def kinds(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for each in self.violations:
            found[each.kind] = found.get(each.kind, 0) + 1
        return found

    def render(self) -> str:
        faults = ", ".join(f"{n} {name}" for name, n in sorted(self.faults.items()))
        lines = [
            f"{self.replies} replies, slowest {self.slowest_s * 1000:.0f} ms, "
            f"{sum(self.faults.values())} faults ({faults})",
            "requests: " + ", ".join(f"{name} {n}" for name, n in sorted(self.counts.items())),
            f"keys on one holder only: {self.unfilled} when all was up again, {self.single} at the end",
            f"keys that differ after writes at the same time: {self.differing_shared}, "
            f"after a write that was lost with its worker: {self.differing_lost}",
            f"violations: {self.kinds() or 'none'}",
        ]
        for each in self.violations:
            after = f"--- {each.at - self.started:.3f} s: {each.kind}: {each.key}: {each.text}"
            lines.append(after + (f": {each.op}" if each.op else ""))
        for each in self.violations:
            if each.rendered:
                lines.append(f"--- {each.kind}: {each.key}: {each.text}\n{each.rendered}")
        return "\n".join(lines)


class Episode:
    def __init__(
        self,
        variant: Variant,
        seed: int,
        seconds: float,
        *,
        scale: float = 1.0,
        pause_s: float = 0.004,
        draw: Draw = faults.draw,
        enough: int = 20,
        only_servers: bool = False,
    ) -> None:
        schedule_rng, world_rng, self.rng = (
            random.Random(f"{seed} {what}") for what in ("faults", "world", "load")
        )
        self.seconds = seconds
        self.scale = scale
        self.pause_s = pause_s
        self.enough = enough
        self.world = World(variant, world_rng)
        several = variant.workers > 1 and not only_servers
        self._loses_supervisor = several and schedule_rng.random() < 0.2
        has_flushes = not only_servers and schedule_rng.random() < 0.5
        self._rounds = rounds(schedule_rng, self.world.nodes, draw, several, has_flushes)
        self.result = Result(variant, self.world.events.start)
        self.load = Load(self.world, self.rng, self._report, scale)
        self._seen: set[tuple[str, str]] = set()
        self._known_lacking: set[Model] = set()
        self._is_known = True
        """What the faults before this one have left on one holder only is in there."""

    def run(self) -> Result:
        try:
            asyncio.run(self._run())
        finally:
            self.world.close()
        return self.result

    @property
    def _has_enough(self) -> bool:
        return len(self.result.violations) >= self.enough

    def _report(self, violation: Violation) -> None:
        """Each kind once a key: a wrong value is read again and again."""
        if (violation.kind, violation.key) in self._seen or len(self.result.violations) >= 3 * self.enough:
            return
        self._seen.add((violation.kind, violation.key))
        self.result.violations.append(violation)
        if self.result.kinds()[violation.kind] <= SHOWN_IN_FULL:
            violation.rendered = evidence(self.world, self.load.models.get(violation.key.encode()), violation)

    async def _run(self) -> None:
        """The story, and what goes on beside it for ever; an end of any is the end of all."""
        beside = (self.load.watch.beat(), self._poll(), self._look_after())
        tasks = [asyncio.create_task(each) for each in (self._story(), *beside)]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        over = [task for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for hand in self.load.hands:
            hand.close()
        await asyncio.sleep(0)  # what was closed ends in the loop's next turn
        for task in over:
            task.result()
        self._sum_up()

    async def _story(self) -> None:
        load = self.load
        await self._until_whole("at the start")
        await self._fill()
        share = min(1, self.scale * 2)
        players = [actor for actor, n in actors.CAST for _ in range(max(1, round(n * share)))]
        load.hands = [
            Hand(load, f"{actor.__name__}{number}", random.Random(self.rng.random()), self.pause_s)
            for number, actor in enumerate(players)
        ]
        async with asyncio.TaskGroup() as group:
            for hand, actor in zip(load.hands, players, strict=True):
                group.create_task(hand.run(actor))
            await self._make_trouble()
            if not self._has_enough and await self._until_whole("after the last fault"):
                await self._rebase()
            load.is_over = True
        if not self._has_enough:
            await self._last_look()
        await load.watch.all_judged()

    def _sum_up(self) -> None:
        for reply, request, took_s in self.load.watch.late:
            took = f"{took_s:.3f} s of {reply.at - reply.sent_at:.3f} s were not stalls"
            text = f"{request}: {took} -> {reply.line}"
            violation = Violation("late reply", text, None, request, reply.at)
            violation.rendered = self.world.events.render(reply.sent_at - 10, reply.at + 2)
            self.result.violations.append(violation)
        for violation in self.result.violations:
            if violation.rendered and violation.key.encode() in self.load.models:
                violation.rendered += f"\nat the end: {self.world.look_at_one(violation.key.encode())}"
        self.result.replies = self.load.watch.replies
        self.result.slowest_s = self.load.watch.slowest_s
        self.result.counts = self.load.counts

    # --- faults ---

    async def _make_trouble(self) -> None:
        begin = time.monotonic()
        for each in self._rounds:
            await asyncio.sleep(each.pause_s)
            spent = (time.monotonic() - begin) / self.seconds
            if spent >= 1 or self._has_enough:
                break
            has_supervisor = self.world.workers.has_supervisor
            if has_supervisor and self._loses_supervisor and spent > 0.6:
                await self._of_the_proxy(faults.kill_supervisor, each.seed)
                has_supervisor = False
            was_whole = self.world.is_whole
            parts = [self._one_fault(blow) for blow in each.blows]
            if each.proxy_fault is not None and has_supervisor:
                parts.append(self._of_the_proxy(each.proxy_fault, each.seed, each.proxy_after_s))
            if each.is_flushed:
                parts.append(self._flush(each.flushed_after_s))
            await asyncio.gather(*parts)
            is_alone = was_whole and len(each.blows) == 1 and not each.is_flushed and self._is_known
            self._is_known = False
            if each.must_be_whole and await self._until_whole("after a fault"):
                await self._rebase(must_be_filled=is_alone and self.world.workers.has_supervisor)
                self._is_known = True

    async def _one_fault(self, blow: Blow) -> None:
        self._count_fault(blow.fault.__name__)
        await asyncio.sleep(blow.after_s)
        await asyncio.to_thread(blow.fault, self.world, blow.node, random.Random(blow.seed))

    async def _of_the_proxy(self, fault: faults.ProxyFault, seed: float, after_s: float = 0) -> None:
        self._count_fault(fault.__name__)
        await asyncio.sleep(after_s)
        await asyncio.to_thread(fault, self.world, random.Random(seed))

    async def _flush(self, after_s: float) -> None:
        """And what was written once is written again."""
        await asyncio.sleep(after_s)
        hand = Hand(self.load, "flush", self.rng, 0)
        self._count_fault("flush_all")
        try:
            await actors.flush(hand)
            for register in self.load.still + self.load.cold:
                await actors.store(hand, register)
        except (Gone, OSError) as error:
            hand.lost(error)
        hand.close()

    def _count_fault(self, name: str) -> None:
        self.result.faults[name] = self.result.faults.get(name, 0) + 1

    async def _until_whole(self, when: str) -> bool:
        end = time.monotonic() + WHOLE_S
        while not self.world.is_whole:
            if time.monotonic() > end:
                out = [node.name for node in self.world.nodes if node.holder.sound_since == NEVER]
                text = f"{when} the pool was not whole within {WHOLE_S:g} s: {', '.join(out)}"
                violation = Violation("not whole", text, None, when, time.monotonic())
                self._report(violation)
                return False
            await asyncio.sleep(POLL_S / 2)
        return True

    # --- what both holders have ---

    async def _rebase(self, must_be_filled: bool = False) -> None:
        """All are up: who has the keys that somebody may not have had?

        Where nobody else was in trouble meanwhile, a holder that came back must have been filled.
        """
        faults_before = len(self.world.events.lines)
        lacking = await self._lacking([model for model in self.load.models.values() if _is_vague(model)])
        end = time.monotonic() + REFILL_S
        while lacking and time.monotonic() < end:
            await asyncio.sleep(0.2)
            lacking = await self._lacking(lacking)
        assert len(self.world.events.lines) == faults_before, "no fault while it looks"
        new = [model for model in lacking if model not in self._known_lacking]
        self._known_lacking = set(lacking)
        self.result.unfilled += len(new)
        if new and must_be_filled:
            text = f"all are up, and one of its holders has it, the other not: {len(new)} such keys"
            new[0].wrong("not refilled", text, None, time.monotonic())

    async def _lacking(self, models: list[Model]) -> list[Model]:
        """Those that one holder has and the other has not; of the others it is noted who has them."""
        if not models:
            return []
        begun = time.monotonic()
        held = await asyncio.to_thread(self._look, [model.key for model in models])
        lacking = []
        for model in models:
            having = [node.holder for node in self.world.nodes_of(model.key) if model.key in held[node.name]]
            if having and model.keeping.begun < begun:
                model.keeping.found(having, begun)
            if len(having) == 1 and not _changes(model):
                lacking.append(model)
        return lacking

    def _look(self, keys: list[bytes]) -> dict[str, dict[bytes, bytes]]:
        wanted: dict[str, list[bytes]] = {node.name: [] for node in self.world.nodes}
        for key in keys:
            for node in self.world.nodes_of(key):
                wanted[node.name].append(key)
        return {node.name: self.world.look(node, wanted[node.name]) for node in self.world.nodes}

    async def _last_look(self) -> None:
        """Quiet: what is on both holders is the same, and what the proxy says is what must be there."""
        differing: list[bytes] = []
        end = time.monotonic() + EQUAL_S
        while True:
            held = await asyncio.to_thread(self._look, list(self.load.models))
            differing, self.result.single = [], 0
            for key in self.load.models:
                owner, copy = (held[node.name].get(key) for node in self.world.nodes_of(key))
                self.result.single += (owner is None) != (copy is None)
                if owner is not None and copy is not None and owner != copy:
                    differing.append(key)
            if not differing or time.monotonic() > end:
                break
            await asyncio.sleep(0.2)
        for key in differing:
            model = self.load.models[key]
            if model in self.load.shared or (isinstance(model, Log) and model.verb == "append"):
                self.result.differing_shared += 1
            elif model.has_lost:
                self.result.differing_lost += 1
            else:
                model.wrong("owner and copy differ", "all up, and quiet", None, time.monotonic())
        hand = Hand(self.load, "last", self.rng, 0)
        await hand.connect()
        for register in (model for model in self.load.models.values() if isinstance(model, Register)):
            op = register.begin("get", "", "last", time.monotonic())
            reply = await hand.ask(b"get " + register.key + b"\r\n", "values")
            hit = reply.hits.get(register.key)
            register.read(op, hit.value if hit else None, reply.at)
        hand.close()

    async def _fill(self) -> None:
        hand = Hand(self.load, "fill", self.rng, 0)
        await hand.connect()
        for register in self.load.still + self.load.cold + self.load.hot:
            await actors.store(hand, register)
        hand.close()

    # --- helpers ---

    async def _poll(self) -> None:
        """For ever: what does the proxy say of its servers?"""
        client: Client | None = None
        assert self.world.proxy is not None
        try:
            while True:
                try:
                    if client is None:
                        client = await Client.connect("poll", "127.0.0.1", self.world.proxy.port)
                    asked_at = time.monotonic()
                    self.world.listen_to(await client.stats("servers"), asked_at)
                except (Gone, OSError):
                    client = None
                await asyncio.sleep(POLL_S)
        finally:
            if client is not None:
                client.close()

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            for hand in self.load.hands:
                hand.look_after()


def _is_vague(model: Model) -> bool:
    return not model.keeping.is_whole and (not isinstance(model, Register) or model.may_be_there)


def _changes(model: Model) -> bool:
    """Is somebody at it, or may it be dying?"""
    if not isinstance(model, Register):
        return True
    return (
        model.is_being_written
        or model.has_lost
        or any(each.dies_from < NEVER or each.is_flush for each in model.versions)
    )
