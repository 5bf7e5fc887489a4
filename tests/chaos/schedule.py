"""What is done when: drawn from the seed alone, so that a seed brings the same faults again.

How long a round lasts is the machine's business, so the same clients do not meet the same fault at the same
request; which faults come, in which order, on whom and for how long they last is the same.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.chaos import faults
from tests.chaos.pools import Node

Draw = Callable[[Node, random.Random], faults.Fault]


@dataclass(frozen=True)
class Blow:
    """One fault of one server, so long after its round begins."""

    node: Node
    fault: faults.Fault
    after_s: float
    seed: float


@dataclass(frozen=True)
class Round:
    pause_s: float
    blows: tuple[Blow, ...]
    proxy_fault: faults.ProxyFault | None
    proxy_after_s: float
    is_flushed: bool
    flushed_after_s: float
    must_be_whole: bool
    """Wait until it is, and look."""
    seed: float

    def __str__(self) -> str:
        parts = [f"{blow.node.name} {blow.fault.__name__} after {blow.after_s:.2f} s" for blow in self.blows]
        if self.proxy_fault is not None:
            parts.append(f"{self.proxy_fault.__name__} after {self.proxy_after_s:.2f} s")
        if self.is_flushed:
            parts.append(f"flush_all after {self.flushed_after_s:.2f} s")
        return ", ".join(parts) + (", then whole" if self.must_be_whole else "")


def rounds(
    rng: random.Random, nodes: Sequence[Node], draw: Draw, has_proxy_faults: bool, has_flushes: bool
) -> Iterator[Round]:
    """For ever. One server at a time, or two, and now and then a worker with them."""
    while True:
        pause_s = rng.uniform(0.2, 1.0)
        chosen = rng.sample(list(nodes), 2 if rng.random() < 0.35 else 1)
        blows = tuple(
            Blow(node, draw(node, rng), rng.choice((0.0, rng.random() * 0.5)), rng.random())
            for node in chosen
        )
        proxy_fault = rng.choice(faults.PROXY) if rng.random() < 0.35 else None
        is_flushed = rng.random() < 0.12
        yield Round(
            pause_s,
            blows,
            proxy_fault if has_proxy_faults else None,
            rng.choice((0.0, rng.random())),
            is_flushed and has_flushes,
            rng.choice((0.0, rng.random())),
            rng.random() < 0.7,
            rng.random(),
        )
