"""The compiled core without sockets: what one request costs in a worker, the kernel left out.

    python -m bench.core [--only get,set] [--rounds 9] [--round-ms 60]

     requests ─▶ session ─▶ channel ─▶ ┐
         (timed)                       │ a fake memcached in Python (not timed)
     replies  ◀─ session ◀─ channel ◀─ ┘

In every round the scenarios take turns with a calibration: CPython's sort of the same shuffled numbers. A
ratio is taken within a round: what slows the machine down for longer than that disturbs both of its sides.
"""

import argparse
import math
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.support.core import Client, World

from memagent._core.journal import Journal
from memagent._core.ring import Placement

KEYS = [b"bench-%014d" % number for number in range(1000)]
VALUE = b"v" * 100
PIPELINED = 64  # requests in a batch, as of a busy client; the window of a session grows to hold them
BATCH_US = 500  # by the core's own clock: with that, and not with ours, it bounds how much it looks at
SLOW_US = 100_000
WARM_UP_BATCHES = 8
CALIBRATION_NUMBERS = 256
JOURNAL_KEYS = 100_000

# (nanoseconds spent in the core, requests done)
Spent = tuple[int, int]
Step = Callable[[], Spent]

_now = time.perf_counter_ns


@dataclass(frozen=True)
class Scenario:
    name: str
    meaning: str
    # Steps are called in turn for as long as a round takes; each does what one figure is about.
    make: Callable[[], Step]


@dataclass
class Figures:
    ns: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)


class Talk:
    """A client whose batches go all the way to fake servers and back; only the core's own time is counted."""

    def __init__(self, n_backups: int = 0, watched: bool = False) -> None:
        self.world = World(
            3,
            n_backups,
            has_copies=n_backups > 0,
            distribution="ketama",
            key_hash="md5",
            hot_keys=watched,
            slow_us=SLOW_US if watched else 0,
        )
        client: Client = self.world.client()
        assert client.session
        self.session = client.session
        self.answered = b""
        for key in KEYS:
            self.spend(b"set %b 0 0 %d\r\n%b\r\n" % (key, len(VALUE), VALUE))

    def spend(self, data: bytes) -> int:
        self.world.turn.now_us += BATCH_US
        begun = _now()
        self.session.feed(data)
        spent = _now() - begun
        self.answered = b""
        moved = True
        while moved:
            moved = False
            for fake in self.world.servers:
                for wire in fake.wires:
                    begun = _now()
                    requests = wire.channel.output()
                    spent += _now() - begun
                    if not requests:
                        continue
                    replies = b"".join(wire.conversation.receive(requests))
                    wire.conversation.lines.clear()
                    begun = _now()
                    wire.channel.feed(replies)
                    spent += _now() - begun
                    moved = True
            begun = _now()
            self.session.settle_down()
            answer = self.session.output()
            spent += _now() - begun
            self.answered += answer
            moved |= bool(answer)
        self.world.turn.channels.clear()
        self.world.turn.sessions.clear()
        return spent


def talking(
    batch: bytes, requests: int, expected: bytes, n_backups: int = 0, watched: bool = False
) -> Callable[[], Step]:
    """The same batch again and again; every answer is looked at."""

    def make() -> Step:
        talk = Talk(n_backups, watched)

        def step() -> Spent:
            spent = talk.spend(batch)
            if talk.answered != expected:
                raise SystemExit(f"wrong answer: {talk.answered[:200]!r} to {batch[:80]!r}")
            return spent, requests

        for _ in range(WARM_UP_BATCHES):
            step()
        return step

    return make


def values(keys: list[bytes]) -> bytes:
    return b"".join(b"VALUE %b 0 %d\r\n%b\r\n" % (key, len(VALUE), VALUE) for key in keys)


def gets(n_backups: int = 0, watched: bool = False) -> Callable[[], Step]:
    keys = KEYS[:PIPELINED]
    batch = b"".join(b"get %b\r\n" % key for key in keys)
    expected = b"".join(values([key]) + b"END\r\n" for key in keys)
    return talking(batch, PIPELINED, expected, n_backups, watched)


def sets(n_backups: int = 0, watched: bool = False) -> Callable[[], Step]:
    batch = b"".join(b"set %b 0 0 %d\r\n%b\r\n" % (key, len(VALUE), VALUE) for key in KEYS[:PIPELINED])
    return talking(batch, PIPELINED, b"STORED\r\n" * PIPELINED, n_backups, watched)


def multigets(width: int, n_backups: int = 0, watched: bool = False) -> Callable[[], Step]:
    """The order of the values is the servers' affair: only the number of bytes is known beforehand."""

    def make() -> Step:
        talk = Talk(n_backups, watched)
        batch = b"get " + b" ".join(KEYS[:width]) + b"\r\n"
        expected = len(values(KEYS[:width])) + len(b"END\r\n")

        def step() -> Spent:
            spent = talk.spend(batch)
            if len(talk.answered) != expected:
                raise SystemExit(f"{len(talk.answered)} bytes where {expected} were expected")
            return spent, 1

        return step

    return make


def placing() -> Step:
    named = [(f"s{index}", "127.0.0.1", 11211, 1) for index in range(3)]
    locate = Placement(named, [], "ketama", "md5").locate

    def step() -> Spent:
        begun = _now()
        for key in KEYS:
            locate(key)
        return _now() - begun, len(KEYS)

    return step


def placing_many() -> Step:
    named = [(f"s{index}", "127.0.0.1", 11211, 1) for index in range(3)]
    locate_many = Placement(named, [], "ketama", "md5").locate_many
    groups = [KEYS[start : start + PIPELINED] for start in range(0, len(KEYS), PIPELINED)]

    def step() -> Spent:
        begun = _now()
        for group in groups:
            locate_many(group, False)
        return _now() - begun, len(KEYS)

    return step


def journal_keys() -> list[bytes]:
    return [b"%0*d" % (20 + number % 21, number) for number in range(JOURNAL_KEYS)]


def add_all(journal: Journal, keys: list[bytes]) -> Spent:
    add = journal.add_key
    begun = _now()
    for key in keys:
        add(key)
    return _now() - begun, len(keys)


def adding() -> Step:
    keys = journal_keys()
    return lambda: add_all(Journal(), keys)


def adding_again() -> Step:
    keys = journal_keys()
    journal = Journal()
    add_all(journal, keys)
    random.Random(1).shuffle(keys)
    return lambda: add_all(journal, keys)


def playing() -> Step:
    keys = journal_keys()

    def step() -> Spent:
        journal = Journal()
        for key in keys:
            journal.add_key(key)
        take, remove = journal.take_key, journal.remove_key
        begun = _now()
        while (key := take()) is not None:
            remove(key)
        return _now() - begun, len(keys)

    return step


def scenarios() -> Iterator[Scenario]:
    yield Scenario("get", f"a get that hits, {PIPELINED} in flight", gets())
    yield Scenario("set", f"a set, {PIPELINED} in flight", sets())
    yield Scenario("mget-24", "a multiget of 24 keys", multigets(24))
    yield Scenario("mget-1000", "a multiget of 1,000 keys", multigets(1000))
    yield Scenario("watched-get", "get with hot keys and slow log", gets(watched=True))
    yield Scenario("watched-set", "set with them", sets(watched=True))
    yield Scenario("watched-mget-24", "a multiget of 24 keys with them", multigets(24, watched=True))
    yield Scenario("copies-get", "get in a pool with two backups", gets(n_backups=2))
    yield Scenario("copies-set", "set in a pool with two backups", sets(n_backups=2))
    yield Scenario("copies-mget-24", "a multiget of 24 keys there", multigets(24, n_backups=2))
    yield Scenario("place", "key to server: ketama, md5 (*)", placing)
    yield Scenario("place-many", f"the same, {PIPELINED} at once (*)", placing_many)
    yield Scenario("journal-add", "a key into a journal that grows to 100,000 (*)", adding)
    yield Scenario("journal-again", "a key that is in the journal (*)", adding_again)
    yield Scenario("journal-play", "a key taken and removed (*)", playing)


def calibrate() -> float:
    """Nanoseconds a number, of sorting."""
    numbers = list(range(CALIBRATION_NUMBERS))
    random.Random(1).shuffle(numbers)
    best = 1 << 62
    for _ in range(50):
        begun = _now()
        sorted(numbers)
        best = min(best, _now() - begun)
    return best / CALIBRATION_NUMBERS


def measure(step: Step, round_ms: float) -> float:
    """Nanoseconds a request: the best step of a round, as with the calibration."""
    best = math.inf
    until = _now() + round_ms * 1e6
    while best == math.inf or _now() < until:
        spent, requests = step()
        best = min(best, spent / requests)
    return best


def table(chosen: list[Scenario], rounds: int, round_ms: float) -> str:
    steps = [scenario.make() for scenario in chosen]
    found = [Figures() for _ in chosen]
    for _ in range(rounds):
        for step, figures in zip(steps, found, strict=True):
            unit_ns = calibrate()
            ns = measure(step, round_ms)
            figures.ns.append(ns)
            figures.ratios.append(ns / unit_ns)
    lines = [
        f"{'scenario':<15} {'ns':>9} {'ratio':>8} {'least':>8} {'most':>8}  of what",
        *(
            f"{scenario.name:<15} {statistics.median(figures.ns):9,.0f}"
            f" {statistics.median(figures.ratios):8.2f} {min(figures.ratios):8.2f}"
            f" {max(figures.ratios):8.2f}  {scenario.meaning}"
            for scenario, figures in zip(chosen, found, strict=True)
        ),
        "",
        f"Medians of {rounds} rounds, of each its best step. ratio: to sorting one of {CALIBRATION_NUMBERS}"
        " shuffled numbers, in the same round.",
        "(*) through Python, whose calls are most of it where a figure is below 200 ns.",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.core", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", default="", help="names of scenarios, with commas")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--round-ms", type=float, default=60.0)
    args = parser.parse_args()
    every = list(scenarios())
    names = [name for name in args.only.split(",") if name]
    unknown = set(names) - {scenario.name for scenario in every}
    if unknown or args.rounds < 1:
        parser.error(
            f"there is no scenario {', '.join(sorted(unknown))}" if unknown else "at least one round"
        )
    print(table([each for each in every if not names or each.name in names], args.rounds, args.round_ms))
    return 0


if __name__ == "__main__":
    sys.exit(main())
