"""Direct memcached, twemproxy, memcached's own proxy and memagent under the same load, taking turns.

    get-50: A B C D, A B C D ...     set-50: A B C D, A B C D ...     every figure is the median of its rounds

Ratios are taken within a round, where both sides met the same neighbours; their median is reported.
"""

import argparse
import os
import statistics
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

from bench import cpu, report
from bench.rig import LOAD_CORE, PROXY_CORE, MissingError, Rig, new_memcached, program
from bench.scenarios import SCENARIOS, TARGETS, WORKER_TARGETS, Scenario
from memagent._bench.job import Job, preload, prepare

WARMUP_S = 0.3
KINDS = ("own", "new")


@dataclass(frozen=True)
class Measured:
    """One target in one round. CPU is the target's processes, per answered request."""

    requests_per_s: float
    user_us: float
    system_us: float
    p50_us: float
    p99_us: float
    errors: int
    others_share: float  # of the proxy's core: what anybody else took of it

    @property
    def cpu_us(self) -> float:
        return self.user_us + self.system_us


@dataclass
class Result:
    scenario: Scenario
    rounds: dict[str, list[Measured]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def median(self, target: str, figure: str) -> float:
        return float(statistics.median(getattr(one, figure) for one in self.rounds[target]))

    def ratio(self, target: str, base: str, figure: str = "cpu_us") -> dict[str, float] | None:
        """Round by round; None where one of them was not measured."""
        pairs = zip(self.rounds.get(target, []), self.rounds.get(base, []), strict=False)
        ratios = [getattr(ours, figure) / getattr(theirs, figure) for ours, theirs in pairs]
        if not ratios:
            return None
        return {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}

    def as_dict(self) -> dict[str, Any]:
        ratios: dict[str, Any] = {}
        for ours in self.rounds:
            for base in self.rounds:
                if ours != base and ours.startswith("memagent"):
                    ratios[f"{ours}/{base}"] = {
                        "cpu": self.ratio(ours, base),
                        "p50": self.ratio(ours, base, "p50_us"),
                        "p99": self.ratio(ours, base, "p99_us"),
                    }
        return {
            **asdict(self.scenario),
            "rounds": {name: [asdict(one) for one in rounds] for name, rounds in self.rounds.items()},
            "ratios": ratios,
            "failures": self.failures,
        }


def measure(rig: Rig, target: str, scenario: Scenario, seconds: float) -> Measured:
    job = Job(target=rig.target(target), duration_s=seconds + 60, warmup_s=WARMUP_S, **scenario.settings())
    pid = rig.pid(target)
    generator = prepare(job)
    try:
        if not scenario.absent:
            stored = preload(generator)
            if stored["stored"] != stored["keys"]:
                raise RuntimeError(f"{target}: only {stored['stored']} of {stored['keys']} keys could be set")
        generator.start(warmup_s=job.warmup_s, duration_s=job.duration_s)
        generator.step(WARMUP_S + 0.001)
        busy_s, began_s = cpu.busy_s(PROXY_CORE), time.monotonic()
        before, answered = cpu.of_tree(pid), generator.answered
        generator.step(seconds)
        answered = generator.answered - answered
        user_s, system_s = cpu.of_tree(pid).since(before)
        lasted_s = time.monotonic() - began_s
        busy_s = cpu.busy_s(PROXY_CORE) - busy_s
        generator.stop()
        if not answered:
            raise RuntimeError(f"{target}: not one request was answered in {lasted_s:.1f} s")
        counts, latency = generator.counts(), generator.checker.latency
        return Measured(
            requests_per_s=answered / lasted_s,
            user_us=user_s / answered * 1e6,
            system_us=system_s / answered * 1e6,
            p50_us=latency.percentile_us(50),
            p99_us=latency.percentile_us(99),
            errors=sum(counts["errors"].values()) + counts["hits" if scenario.absent else "misses"],
            others_share=max(0.0, busy_s - user_s - system_s) / lasted_s,
        )
    finally:
        generator.close()


Around = Callable[[str], AbstractContextManager[object]]


def compare(
    rig: Rig,
    scenario: Scenario,
    targets: list[str],
    rounds: int,
    seconds: float,
    around: Around = nullcontext,
) -> Result:
    """`around(target)` is entered for each of its turns."""
    result = Result(scenario)
    for target in targets:
        # A fresh process each: see cpu.py about the split into user and system.
        rig.stop(target)
        try:
            rig.target(target)
        except (MissingError, RuntimeError) as error:
            result.failures[target] = str(error)
    if scenario.busy_loop:
        rig.busy_loop()
    try:
        for number in range(rounds):
            for target in targets:
                if target in result.failures:
                    continue
                _say(f"\r{scenario.name}: round {number + 1} of {rounds}, {target}")
                try:
                    with around(target):
                        measured = measure(rig, target, scenario, seconds)
                except Exception as error:
                    result.failures[target] = f"round {number + 1}: {error}"
                    result.rounds.pop(target, None)
                    continue
                result.rounds.setdefault(target, []).append(measured)
    finally:
        if scenario.busy_loop:
            rig.stop("busy")
    _say("\r")
    return result


def _say(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"{text:<70}")
        sys.stderr.flush()


def chosen(text: str, known: tuple[str, ...]) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
    return names


def options(
    prog: str, about: str, scenarios: Sequence[Scenario], targets: tuple[str, ...]
) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description=about.partition("\n")[0])
    names = tuple(scenario.name for scenario in scenarios)
    parser.add_argument(
        "--scenarios",
        type=lambda text: chosen(text, names),
        default=list(names),
        help=f"of {', '.join(names)}",
    )
    parser.add_argument(
        "--only",
        type=lambda text: chosen(text, targets),
        default=list(targets),
        help=f"of {', '.join(targets)}",
    )
    return parser


def add_servers(parser: argparse.ArgumentParser) -> None:
    """--servers: for what depends on which memcached it is."""
    parser.add_argument(
        "--servers",
        type=lambda text: chosen(text, KINDS),
        default=list(KINDS),
        help="own: this machine's memcached; new: one that knows mgdump and the flag E (default both)",
    )


def programs(given: Namespace) -> dict[str, str]:
    """Version -> program of each kind of server that was asked for; one where both are the same."""
    found = (new_memcached() if kind == "new" else program("memcached") for kind in given.servers)
    return {report.version_of(path): path for path in found}


def checked(parser: argparse.ArgumentParser) -> Namespace:
    """What was asked for, with the options that every comparison has."""
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.5, help="of each measurement (default 2.5)")
    parser.add_argument("--no-save", action="store_true", help="leave bench/results alone")
    given = parser.parse_args()
    if given.rounds < 1 or not 0.1 <= given.seconds <= 60:
        parser.error("--rounds is 1 or more, --seconds 0.1 to 60")
    return given


def session(
    rig: Rig, scenarios: Sequence[Scenario], given: Namespace, around: Around = nullcontext
) -> Iterator[Result]:
    """One scenario after the other, each told as soon as it is done."""
    os.sched_setaffinity(0, {LOAD_CORE})
    for scenario in scenarios:
        targets = [name for name in scenario.targets if name in given.only]
        if scenario.targets == WORKER_TARGETS and "memagent" in given.only:
            targets = list(WORKER_TARGETS)
        if targets:
            result = compare(rig, scenario, targets, given.rounds, given.seconds, around)
            print(report.scenario_text(result), flush=True)
            yield result


def two_cores() -> bool:
    if len(os.sched_getaffinity(0)) < 2:
        print("two cores are needed: one for the proxy, one for everything else", file=sys.stderr)
        return False
    return True


def finish(results: Iterable[Result], given: Namespace, name: str) -> int:
    """Collects what there is to measure and writes it down."""
    if not two_cores():
        return 1
    try:
        collected = list(results)
    except KeyboardInterrupt:
        print("interrupted: what was measured until here stands above", file=sys.stderr)
        return 130
    if not given.no_save:
        for path in report.save(collected, given.rounds, given.seconds, name):
            print(path)
    return 1 if any(result.failures for result in collected) else 0


def _measured(given: Namespace) -> Iterator[Result]:
    with Rig() as rig:
        yield from session(rig, [one for one in SCENARIOS if one.name in given.scenarios], given)


def main() -> int:
    given = checked(options("python -m bench", __doc__, SCENARIOS, TARGETS))
    return finish(_measured(given), given, "compare")
