"""What looking costs: memagent as it is against one that measures nothing, and while it is scraped or tapped.

    python -m bench.metrics [--scenarios get-50,set-50] [--rounds 9] [--seconds 2.5]

    get-50: bare, cold, on, scraped, tapped, bare ...     set-50: ...     then: what one scrape costs

bare: no latencies, no hot keys, no slow log; cold: the same with latencies.

Method, rounds and figures are those of bench.compare. The supervisor, which answers scrapes, is pinned to the
worker's core: on no other machine do they disturb each other more.
"""

import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from bench import cpu, report
from bench.compare import Result, checked, finish, options, session
from bench.rig import Rig
from bench.scenarios import SET, Compared, Scenario
from bench.scraper import Scraper

BARE, COLD, ON = "memagent-bare", "memagent-cold", "memagent"
SCRAPED, TAPPED = "memagent-scraped", "memagent-tapped"
TARGETS = (BARE, COLD, ON, SCRAPED, TAPPED)
SCRAPE_EVERY_S = 1.0
SCRAPES = 100
MOST_OF_A_CORE = 0.01

COMPARED = (
    Compared(ON, BARE, 1.03),
    Compared(ON, COLD, 1.02),
    Compared(SCRAPED, BARE, 1.03),
    Compared(SCRAPED, ON, 1.05, "p99_us"),
    Compared(TAPPED, ON, 1.05, "p99_us"),
)
SCENARIOS = tuple(
    replace(scenario, targets=TARGETS, compared=COMPARED)
    for scenario in (
        Scenario("get-50", "get, 50 clients", 50),
        Scenario("set-50", "set, 50 clients", 50, mix=SET),
        Scenario("get-10x32", "get, 10 clients x 32 in flight", 10, 32),
        Scenario("mget-24", "multiget of 24, 20 clients", 20, multiget=24),
    )
)


def scrape_cost(rig: Rig) -> str:
    """Of a proxy that has nothing else to do: what a scrape every second takes of a core."""
    rig.target(ON)
    scraper = Scraper(rig.control_socket(ON))
    scraper.scrape()
    before = cpu.of_tree(rig.pid(ON))
    for _ in range(SCRAPES):
        text = scraper.scrape()
    spent_s = sum(cpu.of_tree(rig.pid(ON)).since(before)) / SCRAPES
    scraper.close()
    return (
        f"a scrape: {spent_s * 1e3:.2f} ms of the supervisor for {len(text.splitlines()):,} lines;"
        f" every second {spent_s / SCRAPE_EVERY_S:.2%} of a core"
        f"  aim {report.against(MOST_OF_A_CORE, spent_s / SCRAPE_EVERY_S)}"
    )


def _measured(given: Namespace) -> Iterator[Result]:
    with Rig() as rig:

        def around(target: str) -> AbstractContextManager[object]:
            if target == SCRAPED:
                return rig.scraped(target, SCRAPE_EVERY_S)
            return rig.tapped(target) if target == TAPPED else nullcontext()

        yield from session(rig, [one for one in SCENARIOS if one.name in given.scenarios], given, around)
        print(scrape_cost(rig), flush=True)


def main() -> int:
    given = checked(options("python -m bench.metrics", __doc__, SCENARIOS, TARGETS))
    return finish(_measured(given), given, "metrics")


if __name__ == "__main__":
    sys.exit(main())
