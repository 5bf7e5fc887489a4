"""What memory a proxy takes: idle clients, a lot of data passing through, a client that never reads.

    python -m bench.memory [--only memagent,twemproxy] [--clients 10000]

Resident memory is summed over the proxy's processes. The kernel's part is the growth of its slab, for both
ends of each connection; it is the whole machine's, so only worth something on a quiet one.
"""

import argparse
import contextlib
import json
import resource
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import cpu, report
from bench.rig import Rig
from bench.scenarios import TARGETS
from memagent._bench.job import Job, preload, prepare

MIB = 2**20
VALUE_BYTES = 64 * 1024
NEVER_READ_VALUE_BYTES = 500_000
STANDSTILL_S = 3.0
GIVE_UP_BYTES = 512 * MIB


def settled_rss(pid: int) -> int:
    """Resident memory once it has stopped changing, or what it is after five seconds."""
    deadline = time.monotonic() + 5
    before = -1
    while (now := cpu.rss_bytes(pid)) != before and time.monotonic() < deadline:
        before = now
        time.sleep(0.5)
    return now


def slab_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("Slab:"):
            return int(line.split()[1]) * 1024
    return 0


@contextlib.contextmanager
def many(address: tuple[str, int], number: int) -> Iterator[list[socket.socket]]:
    clients: list[socket.socket] = []
    try:
        for _ in range(number):
            clients.append(socket.create_connection(address, timeout=10))
        yield clients
    finally:
        for client in clients:
            client.close()


def idle_clients(address: tuple[str, int], pid: int, number: int) -> dict[str, Any]:
    before, slab = settled_rss(pid), slab_bytes()
    with many(address, number) as clients:
        # The last one is answered, so all have been accepted.
        _ask(clients[-1])
        connected, slab_connected = settled_rss(pid), slab_bytes()
        for client in clients:
            _ask(client)
        asked = settled_rss(pid)
    return {
        "clients": number,
        "bytes_per_client_connected": round((connected - before) / number),
        "bytes_per_client_after_a_request": round((asked - before) / number),
        "kernel_bytes_per_client_both_ends": round((slab_connected - slab) / number),
        "rss_after_they_left": settled_rss(pid),
        "rss_before": before,
    }


def _ask(client: socket.socket) -> None:
    client.sendall(b"get nobody-has-this\r\n")
    reply = b""
    while reply != b"END\r\n":
        received = client.recv(64)
        if not received:
            raise RuntimeError("the proxy closed an idle client's connection")
        reply += received


def data_through(target: str, pid: int, total_bytes: int) -> dict[str, Any]:
    """Values set and read until so many bytes have passed; the first tenth is what it takes to get going."""
    job = Job(
        target=target, clients=20, depth=4, mix={"get": 1.0, "set": 1.0}, keys=500, value_bytes=VALUE_BYTES
    )
    before = settled_rss(pid)
    generator = prepare(job)
    rss: list[int] = []
    try:
        preload(generator)
        for share in (0.1, 0.9):
            requests = int(total_bytes * share / VALUE_BYTES)
            generator.start(warmup_s=0, duration_s=300, requests=requests)
            while generator.step(1) != "done":
                pass
            rss.append(settled_rss(pid))
        errors = sum(generator.counts()["errors"].values())
    finally:
        generator.close()
    return {
        "bytes": total_bytes,
        "rss_before": before,
        "rss_after_a_tenth": rss[0],
        "rss_after_all": rss[1],
        "rss_when_clients_have_left": settled_rss(pid),
        "errors": errors,
    }


def never_reads(address: tuple[str, int], pid: int) -> dict[str, Any]:
    """Asks for a large value again and again and reads nothing, until nothing moves any more."""
    with socket.create_connection(address, timeout=10) as client:
        client.sendall(
            b"set large 0 0 %d\r\n%b\r\n" % (NEVER_READ_VALUE_BYTES, b"x" * NEVER_READ_VALUE_BYTES)
        )
        client.recv(64)
    before = most = settled_rss(pid)
    gave_up = False
    requests, end = 0, "it stopped reading from that client"
    with socket.create_connection(address, timeout=10) as client:
        client.setblocking(False)
        moved_s = time.monotonic()
        ask = b"get large\r\n" * 100
        while time.monotonic() - moved_s < STANDSTILL_S and requests < 10_000_000:
            try:
                client.send(ask)
                requests += 100
                moved_s = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:
                end = "it closed that client's connection"
                break
            now = cpu.rss_bytes(pid)
            if now - before > GIVE_UP_BYTES:
                gave_up, most, end = True, now, f"none seen: ended by the test at {GIVE_UP_BYTES // MIB} MiB"
                break
            if now > most:
                most = now
                moved_s = time.monotonic()
    return {
        "rss_before": before,
        "rss_most": most,
        "growth_mib": round((most - before) / MIB, 1),
        "asked_for_mib": round(requests * NEVER_READ_VALUE_BYTES / MIB),
        "end": end,
        # What grows without bound is not left to grow while we watch.
        "rss_when_it_has_left": most if gave_up else settled_rss(pid),
    }


def markdown(facts: dict[str, Any], measured: dict[str, dict[str, Any]]) -> str:
    lines = [
        f"# Memory, {facts['date']}",
        "",
        f"- machine: {facts['machine']}",
        f"- versions: {facts['versions']}",
    ]
    lines += ["", "| | " + " | ".join(measured) + " |", "|---" * (len(measured) + 1) + "|"]
    first = next(iter(measured.values()))
    for part, figures in first.items():
        for name in figures:
            cells = [_readable(name, all_parts[part][name]) for all_parts in measured.values()]
            lines.append(f"| {part}: {name.replace('_', ' ')} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _readable(name: str, value: object) -> str:
    return f"{value / MIB:.1f} MiB" if name.startswith("rss") and isinstance(value, int) else str(value)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="memagent,twemproxy", help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--gib", type=float, default=1.0, help="of values that pass through")
    parser.add_argument("--no-save", action="store_true")
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    if any(name not in TARGETS for name in names):
        parser.error(f"--only takes some of {', '.join(TARGETS)}")
    _allow_files(arguments.clients + 100)
    measured: dict[str, dict[str, Any]] = {}
    with Rig() as rig:
        for name in names:
            target = rig.target(name)
            host, _, port = target.rpartition(":")
            address, pid = (host, int(port)), rig.pid(name)
            measured[name] = {
                "idle clients": idle_clients(address, pid, arguments.clients),
                "data through": data_through(target, pid, int(arguments.gib * 2**30)),
                "never reads": never_reads(address, pid),
            }
            rig.stop(name)
    facts = report.about(1, 0)
    text = markdown(facts, measured)
    print(text)
    if not arguments.no_save:
        stem = report.RESULTS / f"{report.stamp(facts)}-memory"
        stem.with_suffix(".md").write_text(text)
        stem.with_suffix(".json").write_text(json.dumps({**facts, "measured": measured}, indent=1) + "\n")
    return 0


def _allow_files(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        sys.exit(
            f"this user may open {hard} files, {wanted} are needed: ulimit -Hn {wanted}, or fewer --clients"
        )
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    sys.exit(main())
