"""How fast a server that came back empty is filled, by the re-warm's own process and nothing else.

    python -m bench.rewarm [--keys 1000000] [--value-bytes 100] [--rounds 3] [--keys-per-s 0] [--only new,old]

A server and its backup, which holds every key. Each round: the server is emptied, a re-warm runs, then
another one finds everything there (resume). Nothing is pinned: on two cores the three processes share them,
as they would on a small machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from typing import Any

from tests.support.wire import Wire

from bench import cpu, report
from bench.rig import ROOT, Rig, free_port, new_memcached, program
from memagent._core.marks import marks_bytes
from memagent.rewarm import job
from memagent.rewarm.job import Job, Report
from memagent.settings import PoolConfig

BATCH = 1_000


def fill(port: int, keys: int, value_bytes: int) -> None:
    """Keys of ten bytes; a third of them expires in a day."""
    value = b"x" * value_bytes
    with Wire(("127.0.0.1", port), 60.0) as wire:
        for first in range(0, keys, BATCH):
            wire.send(
                b"".join(
                    b"set k%09d %d %d %d noreply\r\n%b\r\n"
                    % (i, i % 7, 0 if i % 3 else 86400, value_bytes, value)
                    for i in range(first, min(keys, first + BATCH))
                )
            )
        wire.ask(b"version\r\n")


def rewarm(ports: list[int], keys_per_s: int, pids: list[int]) -> tuple[Report, list[float]]:
    """The last report, and the CPU seconds of the re-warm and of both servers."""
    addresses = [f"127.0.0.1:{port}" for port in ports]
    pool = PoolConfig.model_validate({"name": "main", "servers": addresses[:1], "backups": addresses[1:]})
    marks_fd = os.memfd_create("marks")
    os.ftruncate(marks_fd, marks_bytes(1))
    task = Job(
        pool,
        0,
        (1,),
        (("127.0.0.1",),) * 2,
        keys_per_s=keys_per_s,
        marks_fd=marks_fd,
    )
    before = [cpu.of_tree(pid).total_s for pid in pids]
    own_before = sum(os.times()[2:4])
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "memagent.rewarm"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        pass_fds=(marks_fd,),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        process.stdin.write(job.write(task))
        process.stdin.flush()
        last = [job.read_report(line) for line in process.stdout][-1]
    os.close(marks_fd)
    servers_s = [cpu.of_tree(pid).total_s - start for pid, start in zip(pids, before, strict=True)]
    return last, [sum(os.times()[2:4]) - own_before, *servers_s]


def measure(memcached: str, arguments: argparse.Namespace) -> dict[str, Any]:
    ports = [free_port(), free_port()]
    user = ["-u", "root"] if os.getuid() == 0 else []
    megabytes = max(64, arguments.keys * (arguments.value_bytes + 150) * 3 // 2 // 2**20)
    with Rig() as rig:
        cores = ",".join(str(core) for core in sorted(os.sched_getaffinity(0)))
        for name, port in zip(("target", "source"), ports, strict=True):
            options = ["-l", "127.0.0.1", "-p", str(port), "-U", "0", "-t", "2", "-m", str(megabytes)]
            rig._spawn(name, cores, [memcached, *user, *options], port)
        pids = [rig.pid(name) for name in ("target", "source")]
        fill(ports[1], arguments.keys, arguments.value_bytes)
        rounds: list[dict[str, float]] = []
        for _ in range(arguments.rounds):
            with Wire(("127.0.0.1", ports[0]), 60.0) as wire:
                wire.ask(b"flush_all\r\n")
            copied, (own_s, target_s, source_s) = rewarm(ports, arguments.keys_per_s, pids)
            if (copied.event, copied.copied) != ("done", arguments.keys):
                raise RuntimeError(f"not everything was copied: {copied}")
            resumed, _ = rewarm(ports, arguments.keys_per_s, pids)
            per_key = 1e6 / arguments.keys
            rounds.append(
                {
                    "keys_per_s": arguments.keys / copied.elapsed_s,
                    "resume_keys_per_s": arguments.keys / resumed.elapsed_s,
                    "rewarm_cpu_us_per_key": own_s * per_key,
                    "source_cpu_us_per_key": source_s * per_key,
                    "target_cpu_us_per_key": target_s * per_key,
                }
            )
    return {
        name: {"median": statistics.median(values), "least": min(values), "most": max(values)}
        for name in rounds[0]
        for values in [[one[name] for one in rounds]]
    }


def markdown(facts: dict[str, Any], measured: dict[str, dict[str, Any]]) -> str:
    lines = [
        f"# Re-warm, {facts['date']}",
        "",
        f"- machine: {facts['machine']}",
        f"- versions: {facts['versions']}",
        f"- {facts['method']}",
        "",
        "| median (least to most) | " + " | ".join(measured) + " |",
        "|---" * (len(measured) + 1) + "|",
    ]
    for name in next(iter(measured.values())):
        figures = [each[name] for each in measured.values()]
        digits = 0 if name.startswith(("keys", "resume")) else 2
        cells = [
            f"{f['median']:,.{digits}f} ({f['least']:,.{digits}f} to {f['most']:,.{digits}f})"
            for f in figures
        ]
        lines.append(f"| {name.replace('_', ' ')} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.rewarm", description=__doc__.partition("\n")[0])
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--value-bytes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keys-per-s", type=int, default=0, help="0 is no limit")
    parser.add_argument("--only", default="new,old", help="memcached 1.6.38, the machine's own, or both")
    parser.add_argument("--no-save", action="store_true")
    arguments = parser.parse_args()
    programs = {"new": new_memcached, "old": lambda: program("memcached")}
    names = arguments.only.split(",")
    if any(name not in programs for name in names):
        parser.error(f"--only takes some of {', '.join(programs)}")
    measured = {name: measure(programs[name](), arguments) for name in names}
    method = (
        f"{arguments.keys:,} keys of 10 bytes, values of {arguments.value_bytes} bytes,"
        f" {arguments.rounds} rounds, limit {arguments.keys_per_s or 'none'};"
        f" the machine's load at the end {os.getloadavg()[0]:.1f}"
    )
    facts = {**report.about(arguments.rounds, 0), "method": method}
    text = markdown(facts, measured)
    print(text)
    if not arguments.no_save:
        stem = report.RESULTS / f"{report.stamp(facts)}-rewarm"
        stem.with_suffix(".md").write_text(text)
        stem.with_suffix(".json").write_text(json.dumps({**facts, "measured": measured}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
