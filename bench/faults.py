"""What clients notice while servers fail and come back, and what that costs the proxy.

    python -m bench.faults [--parts frozen,journal] [--servers own,new] [--rounds 3] [--scale 1.0]

    frozen    before ── SIGSTOP ──▶ during      keys of the frozen server, keys of the others: a load for each
    rewarm    before ── restarted empty ──▶ during: refilled at a limited rate
    refill    restarted empty ──▶ refilled at no limit ──▶ up
    journal   every key set ── server gone ──▶ every key set again: what the worker has grown by

A round is done afresh: new servers, new proxy, new clients. Clients ask at a fixed rate, well below what the
machine can carry, since latency at the limit says nothing about a fault.
"""

import argparse
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from bench import cpu, report
from bench.compare import add_servers, programs, two_cores
from bench.loads import Heard, Load, standing, together, until
from bench.memory import settled_rss
from bench.rig import BOTH_CORES, LOAD_CORE, Rig
from memagent.settings import PoolConfig
from memagent.topology import make_placement

LIMIT_MS = 1_000 + 250  # the default request_timeout, and what behaviour may add to it
OTHERS_PER_S, OWN_PER_S, CLIENTS_PER_S = 2_000.0, 500.0, 4_000.0
UP, WARMING = 0, 1  # of the counter `state`
THROTTLED_KEYS_PER_S = 20_000
NOTICED_S, REFILLED_S = 20.0, 300.0

Round = dict[str, float]


@dataclass(frozen=True)
class Figure:
    name: str
    unit: str = ""
    aim: float | None = None
    at_least: bool = False
    worst: bool = False  # judged by the worst of all rounds, not by their median


@dataclass(frozen=True)
class Settings:
    seconds: float
    scale: float

    def keys(self, number: int) -> int:
        return max(1_000, round(number * self.scale))


def frozen(rig: Rig, settings: Settings) -> Round:
    """With a hash tag all keys of a load are on one server."""
    target = rig.memagent("frozen", backups=rig.backups, hash_tag="{}")
    prefixes = _prefix_of_each(rig.servers)
    with ExitStack() as stack:
        # a client for each request that can be due while the first ones wait
        patient = round(OWN_PER_S * LIMIT_MS / 1000 * 1.5)
        own = stack.enter_context(Load(target, settings.keys(10_000), OWN_PER_S, patient, prefixes[0]))
        others = [
            stack.enter_context(Load(target, settings.keys(10_000), OTHERS_PER_S, 50, prefix))
            for prefix in prefixes[1:]
        ]
        for load in (own, *others):
            load.fill()
        stack.callback(os.kill, rig.pid("server0"), signal.SIGCONT)
        before = together([own, *others], settings.seconds)
        during = together(
            [own, *others], settings.seconds, lambda: os.kill(rig.pid("server0"), signal.SIGSTOP)
        )
    p99_before, p99_during = (
        statistics.mean(heard.p99_us for heard in phase[1:]) for phase in (before, during)
    )
    return {
        "others' keys: p99 before": p99_before,
        "others' keys: p99 while it is frozen": p99_during,
        "others' keys: p99, while / before": p99_during / p99_before,
        "its own keys: p50 while it is frozen": during[0].p50_us,
        "its own keys: longest reply": during[0].longest_us / 1000,
        "errors and misses": _errors(*before, *during),
    }


def rewarm(rig: Rig, settings: Settings) -> Round:
    """All three servers are loaded; one of them is being refilled."""
    target = rig.memagent("rewarm", BOTH_CORES, backups=rig.backups, rewarm_keys_per_s=THROTTLED_KEYS_PER_S)
    server = rig.servers[0]
    with Load(target, 3 * settings.keys(300_000), CLIENTS_PER_S) as load:
        load.fill()
        before = load.run(settings.seconds)
        _restart_empty(rig)
        until("the re-warm begins", lambda: _is_being_filled(target, server), NOTICED_S)
        began_s, at_first = time.monotonic(), standing(target, server)
        during = load.run(settings.seconds)
        lasted_s, at_last = time.monotonic() - began_s, standing(target, server)
    if at_last["state"] != WARMING:
        raise RuntimeError("the re-warm ended before the measurement: fewer --seconds, or more --scale")
    return {
        "p99 before": before.p99_us,
        "p99 during the re-warm": during.p99_us,
        "p99, during / before": during.p99_us / before.p99_us,
        "keys copied": (at_last["warm_keys"] - at_first["warm_keys"]) / lasted_s,
        "errors and misses": _errors(before, during),
    }


def refill(rig: Rig, settings: Settings) -> Round:
    """One server and its backup, no clients: how quick it can be."""
    server, keys = rig.servers[0], settings.keys(1_000_000)
    target = rig.memagent(
        "refill",
        BOTH_CORES,
        servers=[server],
        backups=rig.backups[:1],
        rewarm_keys_per_s=0,
        rewarm_bytes_per_s=0,
    )
    with Load(target, keys) as load:
        load.fill()
    gone_s = time.monotonic()
    _restart_empty(rig)
    until("the re-warm begins", lambda: standing(target, server)["state"] == WARMING, NOTICED_S)
    took_s = until("copied", lambda: standing(target, server)["warm_keys"] >= keys, REFILLED_S)
    until("up again", lambda: standing(target, server)["state"] == UP, NOTICED_S)
    return {"keys copied": keys / took_s, "how long it was out": time.monotonic() - gone_s}


def journal(rig: Rig, settings: Settings) -> Round:
    """The same sets twice, so that the journal is all that the second time can leave behind."""
    server, keys = rig.servers[0], settings.keys(1_000_000)
    target = rig.memagent("journal", BOTH_CORES, servers=[server], backups=rig.backups[:1])
    worker = cpu.descendants(rig.pid("journal"))[1]
    with Load(target, keys) as load:
        load.fill()
        before = settled_rss(worker)
        rig.stop("server0")
        until("the server is down", lambda: standing(target, server)["state"] > WARMING, NOTICED_S)
        load.fill()
        after = settled_rss(worker)
    noted = standing(target, server)
    if noted["journal_keys"] != keys or noted["journal_overflows"]:
        raise RuntimeError(
            f"{noted['journal_keys']:,} of {keys:,} keys are in the journal,"
            f" which has overflowed {noted['journal_overflows']} times"
        )
    return {
        "keys in the journal": keys,
        "resident memory a key": (after - before) / keys,
        "what the journal says it takes a key": noted["journal_bytes"] / keys,
    }


Part = Callable[[Rig, Settings], Round]
PARTS: dict[str, tuple[Part, tuple[Figure, ...]]] = {
    "frozen": (
        frozen,
        (
            Figure("others' keys: p99 before", "us"),
            Figure("others' keys: p99 while it is frozen", "us"),
            Figure("others' keys: p99, while / before", aim=1.2),
            Figure("its own keys: p50 while it is frozen", "us"),
            Figure("its own keys: longest reply", "ms", aim=LIMIT_MS, worst=True),
            Figure("errors and misses", aim=0, worst=True),
        ),
    ),
    "rewarm": (
        rewarm,
        (
            Figure("p99 before", "us"),
            Figure("p99 during the re-warm", "us"),
            Figure("p99, during / before", aim=1.5),
            Figure("keys copied", "a second"),
            Figure("errors and misses", aim=0, worst=True),
        ),
    ),
    "refill": (
        refill,
        (
            Figure("keys copied", "a second", aim=150_000, at_least=True),
            Figure("how long it was out", "s"),
        ),
    ),
    "journal": (
        journal,
        (
            Figure("keys in the journal"),
            Figure("resident memory a key", "bytes", aim=100),
            Figure("what the journal says it takes a key", "bytes"),
        ),
    ),
}


def _prefix_of_each(servers: list[str]) -> list[str]:
    """For each server the beginning of keys that are all its own, with a hash tag of {}."""
    pool = PoolConfig.model_validate({"name": "main", "servers": servers, "hash_tag": "{}"})
    placement = make_placement(pool)
    found: dict[int, str] = {}
    number = 0
    while len(found) < len(servers):
        prefix = f"{{{number}}}-"
        found.setdefault(placement.locate(prefix.encode())[0], prefix)
        number += 1
    return [found[i] for i in range(len(servers))]


def _errors(*all_heard: Heard) -> int:
    """How many there were; each kind is told at once, for a number alone explains nothing."""
    for heard in all_heard:
        if heard.errors:
            print(f"  {heard.what}", flush=True)
    return sum(heard.errors for heard in all_heard)


def _restart_empty(rig: Rig) -> None:
    port = rig.ports["server0"]
    rig.stop("server0")
    rig.server("server0", port)


def _is_being_filled(target: str, server: str) -> bool:
    now = standing(target, server)
    return now["state"] == WARMING and now["warm_keys"] > 0


# -------------------------------------------------------------------- telling


def _rows(part: str, version: str, rounds: list[Round]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for figure in PARTS[part][1]:
        each = [one[figure.name] for one in rounds]
        worst = min(each) if figure.at_least else max(each)
        told = worst if figure.worst else statistics.median(each)
        aim = ""
        if figure.aim is not None:
            reached = told >= figure.aim if figure.at_least else told <= figure.aim
            bound = "at least" if figure.at_least else "at most"
            aim = f"{bound} {figure.aim:,g}: {'reached' if reached else 'NOT reached'}"
        name = f"{figure.name}, {figure.unit}" if figure.unit else figure.name
        spread = f"{_number(min(each))} to {_number(max(each))}"
        kind = " (worst)" if figure.worst else ""
        rows.append((f"{part} ({version})", name, _number(told) + kind, spread, aim))
    return rows


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.2f}"


def _markdown(facts: dict[str, object], rows: list[tuple[str, ...]], failures: list[str]) -> str:
    lines = [f"# Faults, {facts['date']}", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items() if name != "date"]
    lines += ["", "| part | figure | median | rounds | aim |", "|---|---|--:|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", *(f"- not measured: {failure}" for failure in failures)]
    return "\n".join(lines).rstrip() + "\n"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.faults", description=(__doc__ or "").partition("\n")[0]
    )
    names = ",".join(PARTS)
    parser.add_argument("--parts", default=names, help=f"of {names}")
    add_servers(parser)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="before a fault, and during it")
    parser.add_argument("--scale", type=float, default=1.0, help="of every number of keys")
    parser.add_argument("--no-save", action="store_true", help="leave bench/results alone")
    given = parser.parse_args()
    given.parts = given.parts.split(",")
    if any(part not in PARTS for part in given.parts):
        parser.error(f"--parts takes some of {names}")
    if given.rounds < 1 or given.seconds <= 0 or not 0 < given.scale <= 1:
        parser.error("--rounds is 1 or more, --seconds more than 0, --scale more than 0 and at most 1")
    return given


def main() -> int:
    given = _arguments()
    if not two_cores():
        return 1
    os.sched_setaffinity(0, {LOAD_CORE})
    facts = report.about(given.rounds, given.seconds)
    measured: dict[str, list[Round]] = {}
    rows: list[tuple[str, ...]] = []
    failures: list[str] = []
    for version, program in programs(given).items():
        for part in given.parts:
            rounds = measured.setdefault(f"{part} ({version})", [])
            try:
                for _ in range(given.rounds):
                    with Rig(program) as rig:
                        rounds.append(PARTS[part][0](rig, Settings(given.seconds, given.scale)))
            except KeyboardInterrupt:
                return 130
            except Exception as error:
                failures.append(f"{part} ({version}), round {len(rounds) + 1}: {error}")
                print(f"{part} ({version}) FAILED: {error}", flush=True)
                continue
            found = _rows(part, version, rounds)
            rows += found
            for row in found:
                print(f"{row[0]:<18} {row[1]:<44} {row[2]:>16}  {row[3]:<24} {row[4]}", flush=True)
    if not given.no_save:
        stem = report.RESULTS / f"{report.stamp(facts)}-faults"
        stem.with_suffix(".md").write_text(_markdown(facts, rows, failures))
        stem.with_suffix(".json").write_text(json.dumps({**facts, "rounds": measured}, indent=1) + "\n")
        print(stem)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
