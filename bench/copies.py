"""What copies cost: memagent with backups against memagent without, and against what others have.

    python -m bench.copies [--scenarios set-50,miss-50] [--servers own,new] [--rounds 5]

    servers of one kind: get-50: A B C D, A B C D ...  set-50: ...     servers of the other kind: the same

With copies, a get that hits asks one server as without; a set is sent to two, and a true miss asks two.
Servers that know the meta flag E get a set as `ms` with a cas unique that is the same on both, older ones
get it as it came: so both kinds are measured. Method, rounds and figures are those of bench.compare.
"""

import sys
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace

from bench.compare import Result, add_servers, checked, finish, options, programs, session
from bench.rig import Rig
from bench.scenarios import SET, Compared, Scenario

SUBJECT, WITHOUT = "memagent-copies", "memagent"
PEERS = ("twemproxy", "mcproxy-copies")
TARGETS = (WITHOUT, SUBJECT, *PEERS)


def without(most: float) -> tuple[Compared, ...]:
    """What it may cost of a pool without copies, and what it costs of the others."""
    return (Compared(SUBJECT, WITHOUT, most), *(Compared(SUBJECT, peer) for peer in PEERS))


SCENARIOS = tuple(
    replace(scenario, targets=TARGETS)
    for scenario in (
        Scenario("get-50", "get that hits, 50 clients", 50, compared=without(1.05)),
        Scenario("set-50", "set, 50 clients", 50, mix=SET, compared=without(1.6)),
        Scenario("miss-50", "get of what nobody has, 50 clients", 50, absent=True, compared=without(1.7)),
        Scenario("get-10x32", "get that hits, 10 clients x 32 in flight", 10, 32, compared=without(1.05)),
        Scenario("set-10x32", "set, 10 clients x 32 in flight", 10, 32, mix=SET, compared=without(1.6)),
        Scenario("mget-24", "multiget of 24 hits, 20 clients", 20, multiget=24, compared=without(1.05)),
    )
)


def _measured(given: Namespace) -> Iterator[Result]:
    for version, program in programs(given).items():
        scenarios = [
            replace(one, name=f"{one.name} ({version})", meaning=f"{one.meaning}; servers are {version}")
            for one in SCENARIOS
            if one.name in given.scenarios
        ]
        with Rig(program) as rig:
            yield from session(rig, scenarios, given)


def main() -> int:
    parser = options("python -m bench.copies", __doc__, SCENARIOS, TARGETS)
    add_servers(parser)
    given = checked(parser)
    return finish(_measured(given), given, "copies")


if __name__ == "__main__":
    sys.exit(main())
