"""What the page costs the supervisor: no page open, one, many, with many servers; then many keys counted.

    python -m bench.page [--servers 200] [--pages 50] [--keys 5000000] [--rounds 3] [--seconds 10]

A proxy before so many addresses of one memcached, a light load, and streams that are read as browsers read
them. The figure is the processor time of the supervisor alone, in percent of a core. Then three servers full
of keys, and what Distribution and Browse ask: how long that takes, and how long another question waits.
"""

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from bench import cpu
from bench.compare import two_cores
from bench.loads import Load
from bench.rig import BOTH_CORES, LOAD_CORE, Rig, free_port, program

LEAST_PAGES_S = 3.0  # until all of them are there
PER_S = 200.0
MOST_OF_A_CORE = 0.05


def addresses(number: int, port: int) -> list[str]:
    """Loopback has more than one address, and each is a server of its own to the proxy."""
    return [f"127.0.{1 + at // 200}.{1 + at % 200}:{port}" for at in range(number)]


def share(pid: int, load: Load, seconds: float) -> float:
    """Of a core, by this process without those that it has started."""
    before, start_s = cpu.of_process(pid), time.monotonic()
    load.run(seconds)
    return sum(cpu.of_process(pid).since(before)) / (time.monotonic() - start_s)


def watching(rig: Rig, stack: ExitStack, given: argparse.Namespace) -> None:
    port, admin = free_port(), f"127.0.0.1:{free_port()}"
    servers = addresses(given.servers, port)
    command = [program("memcached"), "-u", "nobody", "-p", str(port), "-U", "0", "-c", "8000"]
    memcached = subprocess.Popen([*command, "-l", ",".join(each.rpartition(":")[0] for each in servers)])
    stack.callback(memcached.wait)
    stack.callback(memcached.kill)
    target = rig.memagent("page", root={"admin_listen": admin}, servers=servers)
    load = stack.enter_context(Load(target, 1_000, PER_S))
    load.fill()
    found: dict[int, list[float]] = {}
    for _ in range(given.rounds):
        for pages in (0, 1, given.pages):
            with ExitStack() as opened:
                if pages:
                    watchers = [sys.executable, "-m", "bench.watchers", admin, str(pages)]
                    open_pages = subprocess.Popen(watchers)
                    opened.callback(open_pages.wait)
                    opened.callback(open_pages.kill)
                    time.sleep(LEAST_PAGES_S)
                found.setdefault(pages, []).append(share(rig.pid("page"), load, given.seconds))
                if pages and open_pages.poll() is not None:
                    raise RuntimeError("the pages were not left open")
    for pages, shares in found.items():
        of_a_core = statistics.median(shares)
        aim = ""
        if pages == given.pages:
            aim = f"  aim {MOST_OF_A_CORE:.0%}: {'' if of_a_core <= MOST_OF_A_CORE else 'NOT '}reached"
        print(
            f"{given.servers} servers, {pages:>3} pages: {of_a_core:.2%} of a core"
            f"  (rounds {min(shares):.2%} to {max(shares):.2%}){aim}"
        )


def ask(admin: str, path: str) -> bytes:
    host, _, port = admin.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=600)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def survey(rig: Rig, keys: int) -> None:
    admin = f"127.0.0.1:{free_port()}"
    target = rig.memagent("survey", BOTH_CORES, root={"admin_listen": admin})
    with Load(target, keys) as load:
        load.fill()
    for what in ("distribution", "browse"):
        before, start_s, longest_s = cpu.of_tree(rig.pid("survey")), time.monotonic(), 0.0
        with ThreadPoolExecutor(1) as thread:
            counted = thread.submit(ask, admin, f"/v1/survey?pool=main&what={what}")
            while not counted.done():
                asked_s = time.monotonic()
                ask(admin, "/health/live")
                longest_s = max(longest_s, time.monotonic() - asked_s)
                time.sleep(0.02)
        took_s = time.monotonic() - start_s
        last = json.loads(counted.result().splitlines()[-1])
        if last["result"]["keys_read"] != keys:
            raise RuntimeError(f"it has read {last['result']['keys_read']:,} keys of {keys:,}")
        supervisor = sum(cpu.of_tree(rig.pid("survey")).since(before))
        print(
            f"{what} of {keys:,} keys: {took_s:.1f} s; the proxy meanwhile"
            f" {supervisor:.2f} s of processor time, its longest other answer {longest_s * 1e3:.0f} ms"
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.page", description=__doc__.partition("\n")[0])
    parser.add_argument("--servers", type=int, default=200)
    parser.add_argument("--pages", type=int, default=50)
    parser.add_argument("--keys", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    if not (1 <= given.servers <= 10_000 and 1 <= given.pages <= 500):
        parser.error("--servers is 1 to 10000, --pages 1 to 500")
    if not 1_000 <= given.keys <= 10_000_000:
        parser.error("--keys is 1000 to 10000000")
    if given.rounds < 1 or given.seconds <= 0:
        parser.error("--rounds is 1 or more, --seconds more than 0")
    if not two_cores():
        return 1
    os.sched_setaffinity(0, {LOAD_CORE})
    with Rig() as rig, ExitStack() as stack:
        watching(rig, stack, given)
    with Rig() as rig:
        survey(rig, given.keys)
    return 0


if __name__ == "__main__":
    sys.exit(main())
