"""What is measured: one table of scenarios, and the targets in the order in which they take turns."""

from dataclasses import dataclass, field
from typing import Any

KEYS = 10_000
TARGETS = ("direct", "twemproxy", "mcproxy", "memagent")
WORKER_TARGETS = ("memagent-1w", "memagent-2w")


@dataclass(frozen=True)
class Compared:
    """Two targets whose figures are set against each other; `most` is what that ratio may be, if anything."""

    ours: str
    base: str
    most: float | None = None
    figure: str = "cpu_us"


def peers(twemproxy: float | None = None, mcproxy: float | None = 1.0) -> tuple[Compared, ...]:
    return (Compared("memagent", "twemproxy", twemproxy), Compared("memagent", "mcproxy", mcproxy))


@dataclass(frozen=True)
class Scenario:
    name: str
    meaning: str
    clients: int
    depth: int = 1
    mix: dict[str, float] = field(default_factory=lambda: {"get": 1.0})
    value_bytes: int = 100
    multiget: int = 1
    busy_loop: bool = False
    absent: bool = False  # nobody has ever set these keys: a hit is an error, not a miss
    targets: tuple[str, ...] = TARGETS
    compared: tuple[Compared, ...] = peers()

    def settings(self) -> dict[str, Any]:
        return {
            "clients": self.clients,
            "depth": self.depth,
            "mix": self.mix,
            "value_bytes": self.value_bytes,
            "multiget": self.multiget,
            "keys": KEYS,
            "key_bytes": 20,
            "key_prefix": "absent-" if self.absent else "bench-",
        }


SET = {"set": 1.0}

SCENARIOS = (
    Scenario("get-50", "get, 50 clients", 50, compared=peers(0.95)),
    Scenario("set-50", "set, 50 clients", 50, mix=SET, compared=peers(0.95)),
    Scenario("get-1", "get, 1 client", 1, compared=peers(0.95)),
    Scenario("set-1", "set, 1 client", 1, mix=SET, compared=peers(0.95)),
    Scenario("get-10x32", "get, 10 clients x 32 in flight", 10, 32, compared=peers(0.90)),
    Scenario("get-50x8", "get, 50 clients x 8 in flight", 50, 8, compared=peers(0.90)),
    Scenario("set-10x32", "set, 10 clients x 32 in flight", 10, 32, mix=SET, compared=peers(0.90)),
    Scenario("mget-24", "multiget of 24, 20 clients", 20, multiget=24, compared=peers(0.75)),
    Scenario("mget-100", "multiget of 100, 20 clients", 20, multiget=100, compared=peers(0.75)),
    Scenario("get-4k", "get of 4 KiB values, 50 clients", 50, value_bytes=4096, compared=peers(0.95)),
    Scenario(
        "set-4k", "set of 4 KiB values, 50 clients", 50, mix=SET, value_bytes=4096, compared=peers(0.95)
    ),
    Scenario(
        "mget-1000",
        "multiget of 1,000, 1 client: its latency",
        1,
        multiget=1000,
        compared=(*peers(mcproxy=None), Compared("memagent", "direct", 1.5, "p50_us")),
    ),
    Scenario(
        "two-workers",
        "get, 50 clients; 1 and 2 workers on both cores",
        50,
        targets=WORKER_TARGETS,
        compared=(Compared("memagent-2w", "memagent-1w", 1.10),),
    ),
    Scenario("saturation", "get, 50 clients; a busy loop on the proxy's core", 50, busy_loop=True),
)
