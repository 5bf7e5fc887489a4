"""Direct memcached, twemproxy, memcached's own proxy and memagent under the same load, taking turns.

    get-50: A B C D, A B C D ...     set-50: A B C D, A B C D ...     every figure is the median of its rounds

Ratios are taken within a round, where both sides met the same neighbours; their median is reported.
"""

import argparse
import os
import statistics
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from bench import cpu, report
from bench.rig import LOAD_CORE, PROXY_CORE, MissingError, Rig
from bench.scenarios import BY_NAME, SCENARIOS, TARGETS, WORKER_TARGETS, Scenario
from memagent._bench.job import Job, preload, prepare

WARMUP_S = 0.3


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
            errors=sum(counts["errors"].values()) + counts["misses"],
            others_share=max(0.0, busy_s - user_s - system_s) / lasted_s,
        )
    finally:
        generator.close()


def compare(rig: Rig, scenario: Scenario, targets: list[str], rounds: int, seconds: float) -> Result:
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


def _chosen(text: str, known: tuple[str, ...]) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
    return names


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.partition("\n")[0])
    names = tuple(BY_NAME)
    parser.add_argument(
        "--scenarios",
        type=lambda text: _chosen(text, names),
        default=list(names),
        help=f"of {', '.join(names)}",
    )
    parser.add_argument(
        "--only",
        type=lambda text: _chosen(text, TARGETS),
        default=list(TARGETS),
        help=f"of {', '.join(TARGETS)}",
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.5, help="of each measurement (default 2.5)")
    parser.add_argument("--no-save", action="store_true", help="leave bench/results alone")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or not 0.1 <= arguments.seconds <= 60:
        parser.error("--rounds is 1 or more, --seconds 0.1 to 60")
    return arguments


def main() -> int:
    arguments = _arguments()
    if len(os.sched_getaffinity(0)) < 2:
        print("the comparison needs two cores: one for the proxy, one for everything else", file=sys.stderr)
        return 1
    results = []
    try:
        with Rig() as rig:
            os.sched_setaffinity(0, {LOAD_CORE})
            for scenario in (one for one in SCENARIOS if one.name in arguments.scenarios):
                targets = [name for name in scenario.targets if name in arguments.only]
                if scenario.targets == WORKER_TARGETS and "memagent" in arguments.only:
                    targets = list(WORKER_TARGETS)
                if not targets:
                    continue
                result = compare(rig, scenario, targets, arguments.rounds, arguments.seconds)
                results.append(result)
                print(report.scenario_text(result), flush=True)
    except KeyboardInterrupt:
        print("interrupted: what was measured until here stands above", file=sys.stderr)
        return 130
    if not arguments.no_save:
        for path in report.save(results, arguments.rounds, arguments.seconds):
            print(path)
    return 1 if any(result.failures for result in results) else 0
