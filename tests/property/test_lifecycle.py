"""In no order of events is a server opened before every live worker is clean.

Workers here do what memagent's do (join, return, get clean, fail again, die with a journal, be replaced), in
any order and with any message lost; the leader looks at any time.
"""

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from memagent.lifecycle import CLEAN, DOWN, Flush, Lifecycle, Open, Place, Row, Server, StartWarm, TellHeld

UP, RETURNING = 0, 2
WORKERS, SERVERS = 3, 2
worker_numbers = st.integers(0, WORKERS - 1)
server_numbers = st.integers(0, SERVERS - 1)


@dataclass
class Word:
    """What one worker says of one server, and what is true of it."""

    outage: int = 0
    phase: int = UP
    emptied: bool = False
    has_journal: bool = False


class Proxy(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.lifecycle = Lifecycle({0: Server((1,), True, 30.0), 1: Server((0,), True, 30.0)}, 0.0)
        self.outage = [0] * SERVERS
        self.opened = [0] * SERVERS
        self.alive = [True] * WORKERS
        self.words = [[Word() for _ in range(WORKERS)] for _ in range(SERVERS)]
        # What only the model knows: a copier is at work, has left copies it did not verify, must be flushed.
        self.copying = [False] * SERVERS
        self.tainted = [False] * SERVERS
        self.told_held: list[tuple[int, ...]] = [()] * WORKERS

    def rows(self) -> list[Row]:
        return [
            Row(
                self.outage[server],
                self.opened[server],
                tuple(
                    Place(self.alive[number], True, word.outage, word.phase, word.emptied)
                    for number, word in enumerate(self.words[server])
                ),
            )
            for server in range(SERVERS)
        ]

    def join(self, server: int, worker: int, lost_journal: bool = False) -> None:
        word = self.words[server][worker]
        if word.outage < self.outage[server] or lost_journal:
            word.has_journal = word.has_journal or lost_journal
            word.outage, word.phase = self.outage[server], DOWN

    @rule(server=server_numbers, worker=worker_numbers)
    def a_worker_finds_it_dead(self, server: int, worker: int) -> None:
        if not self.alive[worker]:
            return
        word = self.words[server][worker]
        if word.outage == self.outage[server]:
            self.outage[server] += 1
        self.join(server, worker)
        word.has_journal = True

    @rule(server=server_numbers, worker=worker_numbers)
    def a_worker_joins(self, server: int, worker: int) -> None:
        if self.alive[worker]:
            self.join(server, worker)

    @rule(server=server_numbers, worker=worker_numbers, emptied=st.booleans())
    def a_worker_goes_on(self, server: int, worker: int, emptied: bool) -> None:
        word = self.words[server][worker]
        if not self.alive[worker] or word.outage != self.outage[server]:
            return
        if word.phase == DOWN and server not in self.told_held[worker]:
            word.phase = RETURNING
        elif word.phase == RETURNING:
            word.phase, word.has_journal = CLEAN, False
            word.emptied = word.emptied or emptied
        elif word.phase == CLEAN and self.opened[server] == word.outage:
            word.phase, word.emptied = UP, False

    @rule(server=server_numbers, workers=st.sets(worker_numbers), emptied=st.booleans())
    def workers_get_clean(self, server: int, workers: set[int], emptied: bool) -> None:
        for worker in workers or range(WORKERS):
            self.a_worker_joins(server, worker)
            if self.words[server][worker].phase != CLEAN:
                self.a_worker_goes_on(server, worker, emptied)
            if self.words[server][worker].phase == RETURNING:
                self.a_worker_goes_on(server, worker, emptied)

    @rule(worker=worker_numbers)
    def a_worker_dies(self, worker: int) -> None:
        self.alive[worker] = False

    @rule(worker=worker_numbers)
    def a_worker_is_replaced(self, worker: int) -> None:
        if self.alive[worker]:
            return
        self.alive[worker], self.told_held[worker] = True, ()
        for server in range(SERVERS):
            word = self.words[server][worker]
            # Its predecessor's journal is lost: it flushes, which does what a journal would have done.
            if word.phase in (DOWN, RETURNING) or self.outage[server] != self.opened[server]:
                if word.outage == self.outage[server] == self.opened[server]:
                    self.outage[server] += 1
                self.join(server, worker, lost_journal=True)

    @rule(server=server_numbers, how=st.sampled_from(["done", "failed", "aborted"]), verified=st.booleans())
    def the_copier_ends(self, server: int, how: str, verified: bool) -> None:
        if self.copying[server]:
            self.copying[server] = False
            verified = verified or how == "done"
            self.tainted[server] = self.tainted[server] or not verified
            self.lifecycle.warm_ended(server, how, verified)  # type: ignore[arg-type]

    @rule(
        server=server_numbers,
        what=st.sampled_from(["hold", "replace", "release", "rewarm", "abort", "pause"]),
    )
    def an_operator_speaks(self, server: int, what: str) -> None:
        match what:
            case "hold":
                self.lifecycle.hold(server)
            case "replace":
                self.lifecycle.hold(server, "replace")
            case "release":
                self.lifecycle.release(server)
            case "rewarm":
                self.lifecycle.ask_rewarm(server)
            case "abort":
                self.lifecycle.abort(server)
            case "pause":
                self.lifecycle.pause(server, True)

    @rule(worker=worker_numbers)
    def a_worker_hears_what_is_held(self, worker: int) -> None:
        if self.alive[worker]:
            self.told_held[worker] = self.lifecycle.held
        for server in self.lifecycle.held:
            word = self.words[server][worker]
            if self.alive[worker] and word.outage == self.outage[server] == self.opened[server]:
                self.outage[server] += 1
            if self.alive[worker]:
                self.join(server, worker)
                word.phase = DOWN

    @rule(passed_s=st.sampled_from([0.0, 0.1, 1.5, 40.0]), deliver=st.booleans())
    def the_leader_looks(self, passed_s: float, deliver: bool = True) -> None:
        self.now_s += passed_s
        for action in self.lifecycle.look(self.now_s, dict(enumerate(self.rows()))):
            match action:
                case Open(server, outage):
                    self.check_open(server, outage)
                    self.opened[server] = max(self.opened[server], outage)
                case StartWarm(server, outage, sources):
                    assert not self.copying[server]
                    assert outage == self.outage[server]
                    assert all(self.opened[each] == self.outage[each] for each in sources)
                    self.copying[server] = True
                case Flush(server):
                    assert all(
                        word.phase == DOWN
                        for number, word in enumerate(self.words[server])
                        if self.alive[number]
                    )
                    assert not self.copying[server]
                    self.tainted[server] = False
                case TellHeld() if deliver:
                    self.told_held = [self.lifecycle.held] * WORKERS

    def check_open(self, server: int, outage: int) -> None:
        assert outage == self.outage[server] > self.opened[server]
        for number, word in enumerate(self.words[server]):
            if self.alive[number]:
                assert (word.outage, word.phase) == (outage, CLEAN)
            assert not word.has_journal
        assert not self.copying[server]
        assert not self.tainted[server]
        assert server not in self.lifecycle.held

    def teardown(self) -> None:
        """Left in peace, everything is up again in the end."""
        for server in range(SERVERS):
            self.lifecycle.release(server)
        for worker in range(WORKERS):
            self.a_worker_is_replaced(worker)
        for _ in range(40):
            self.told_held = [self.lifecycle.held] * WORKERS
            for server in range(SERVERS):
                self.the_copier_ends(server, "done", True)
                for worker in range(WORKERS):
                    if server in self.lifecycle.held:
                        self.a_worker_hears_what_is_held(worker)
                    self.join(server, worker)
                    self.a_worker_goes_on(server, worker, False)
            self.the_leader_looks(1.5)
        assert self.opened == self.outage
        assert [life.state for life in self.lifecycle.lives.values()] == ["up"] * SERVERS


Proxy.TestCase.settings = settings(max_examples=400, stateful_step_count=60)
TestProxy = Proxy.TestCase
