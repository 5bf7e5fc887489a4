"""One measurement: what is asked for, checked; the run; and what came of it.

Job (settings, every mistake at once) ─▶ run ─▶ Outcome (settings + counts + latency; JSON as it is)
"""

import resource
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from memagent._bench.generator import Generator
from memagent._bench.workload import VERBS, Workload
from memagent.addresses import Address, parse_address
from memagent.errors import ConfigError, StartError

MOST_CLIENTS = 60_000
MOST_DEPTH = 100_000
MOST_KEYS = 100_000_000
MOST_KEY_BYTES = 249  # one byte is left for the counters' names
MOST_VALUE_BYTES = 64 * 2**20
MOST_MULTIGET = 10_000
MOST_RING_BYTES = 2**31
STEP_S = 0.25

Progress = Callable[["Generator", str], None]


@dataclass(frozen=True, kw_only=True)
class Job:
    """The settings of one measurement; `check` names every mistake."""

    target: str
    clients: int = 50
    depth: int = 1
    mix: dict[str, float] = field(default_factory=lambda: {"get": 9.0, "set": 1.0})
    keys: int = 10_000
    key_prefix: str = "bench-"
    key_bytes: int = 20
    value_bytes: int = 100
    value_bytes_max: int = 0
    value_shape: str = "fixed"
    multiget: int = 1
    zipf: float = 0.0
    preload: bool = True
    duration_s: float = 10.0
    warmup_s: float = 1.0
    requests: int = 0
    rate: float = 0.0
    timeout_s: float = 5.0
    seed: int = 1

    def check(self) -> None:
        mistakes = self._mistakes()
        if mistakes:
            raise ConfigError("\n".join(mistakes))

    def _mistakes(self) -> list[str]:
        found: list[str] = []

        def bound(name: str, value: float, least: float, most: float) -> None:
            if not least <= value <= most:
                found.append(f"{name}: {value:g} is not between {least:g} and {most:g}")

        try:
            parse_address(self.target)
        except ValueError as error:
            found.append(f"target {self.target!r}: {error}")
        bound("clients", self.clients, 1, MOST_CLIENTS)
        bound("depth", self.depth, 1, MOST_DEPTH)
        bound("keys", self.keys, 1, MOST_KEYS)
        bound("value-bytes", self.value_bytes, 0, MOST_VALUE_BYTES)
        bound("multiget", self.multiget, 1, MOST_MULTIGET)
        bound("zipf", self.zipf, 0, 10)
        bound("duration", self.duration_s, 0.01, 86_400)
        bound("warmup", self.warmup_s, 0, 3_600)
        bound("requests", self.requests, 0, 10**15)
        bound("rate", self.rate, 0, 10_000_000)
        bound("timeout", self.timeout_s, 0.01, 600)
        bound("seed", self.seed, 0, 2**62)
        if self.value_shape != "fixed":
            bound("largest value", self.value_bytes_max, self.value_bytes, MOST_VALUE_BYTES)
        if not self.mix or sum(self.mix.values()) <= 0:
            found.append("mix: no verb has a share")
        for verb, share in self.mix.items():
            if verb not in VERBS:
                found.append(f"mix: {verb!r} is none of {', '.join(VERBS)}")
            elif not 0 <= share < 1e9:
                found.append(f"mix: the share of {verb} must be a number from 0 up, not {share:g}")
        if not (self.key_prefix.isascii() and all("!" <= c <= "~" for c in self.key_prefix)):
            found.append("key-prefix: only printable ASCII without spaces")
        digits = self.key_bytes - len(self.key_prefix)
        needed = len(str(max(self.keys, 1) - 1))
        if not needed <= digits <= 20:
            least, most = len(self.key_prefix) + needed, len(self.key_prefix) + 20
            found.append(
                f"key-bytes: {self.keys} keys need {least} to {most} with this prefix, not {self.key_bytes}"
            )
        elif self.key_bytes > MOST_KEY_BYTES:
            found.append(f"key-bytes: at most {MOST_KEY_BYTES}, not {self.key_bytes}")
        if self.clients * max(self.depth, 32) * (4 * self.multiget + 32) > MOST_RING_BYTES:
            found.append("clients x depth x multiget: more than 2 GiB of requests in flight to remember")
        return found


@dataclass(frozen=True)
class Outcome:
    """What a run measured; `complete` is False where it was interrupted."""

    job: Job
    complete: bool
    preload_keys: int
    preload_stored: int
    elapsed_s: float
    counts: dict[str, Any]
    latency_us: dict[str, float]

    @property
    def throughput(self) -> float:
        requests: int = self.counts["requests"]
        return requests / self.elapsed_s if self.elapsed_s > 0 else 0.0

    def as_dict(self) -> dict[str, Any]:
        return {
            "settings": asdict(self.job),
            "complete": self.complete,
            "preload": {
                "keys": self.preload_keys,
                "stored": self.preload_stored,
                "failed": self.preload_keys - self.preload_stored,
            },
            "elapsed_s": round(self.elapsed_s, 6),
            "requests_per_s": round(self.throughput, 3),
            "latency_us": {name: round(value, 3) for name, value in self.latency_us.items()},
            **self.counts,
        }


def resolve(address: Address) -> tuple[int, str, int]:
    """(family, numeric host or path, port) of the first address of a name."""
    if address.path is not None:
        return socket.AF_UNIX, address.path, 0
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise StartError(f"{address}: the name cannot be resolved: {error.strerror}") from error
    family, _, _, _, where = found[0]
    return int(family), str(where[0]), int(where[1])


def prepare(job: Job) -> Generator:
    """A generator with all its clients connected."""
    job.check()
    address = parse_address(job.target)
    family, host, port = resolve(address)
    _allow_files(job.clients + 64)
    workload = Workload(
        mix=job.mix,
        keys=job.keys,
        key_prefix=job.key_prefix.encode(),
        key_bytes=job.key_bytes,
        value_bytes=job.value_bytes,
        value_bytes_max=job.value_bytes_max,
        value_shape=job.value_shape,
        multiget=job.multiget,
        zipf=job.zipf,
        seed=job.seed,
    )
    generator = Generator(
        workload,
        family=family,
        host=host,
        port=port,
        clients=job.clients,
        depth=job.depth,
        timeout_s=job.timeout_s,
    )
    try:
        generator.connect()
    except OSError as error:
        raise StartError(
            f"{address}: cannot connect {job.clients} client{'s' * (job.clients > 1)}: {error.strerror}",
            "is it running, and does it allow that many connections?",
        ) from error
    return generator


def preload(generator: Generator, progress: Progress | None = None) -> dict[str, int]:
    """Sets every key once; how many were stored is for the caller to judge."""
    generator.preload()
    while generator.step(STEP_S) != "idle":
        if progress is not None:
            progress(generator, "preload")
    return generator.preload_state()


def run(job: Job, progress: Progress | None = None) -> Outcome:
    """The whole measurement. An interrupt ends it early and keeps what there is."""
    complete = False
    preloaded = {"keys": 0, "stored": 0}
    generator = prepare(job)
    try:
        with suppress(KeyboardInterrupt):
            if job.preload:
                preloaded = preload(generator, progress)
            generator.start(
                warmup_s=job.warmup_s, duration_s=job.duration_s, requests=job.requests, rate=job.rate
            )
            while (phase := generator.step(STEP_S)) != "done":
                if progress is not None:
                    progress(generator, phase)
            complete = True
        generator.stop()
        return _outcome(job, generator, complete, preloaded)
    finally:
        generator.close()


def _outcome(job: Job, generator: Generator, complete: bool, preloaded: dict[str, int]) -> Outcome:
    latency = generator.checker.latency
    return Outcome(
        job=job,
        complete=complete,
        preload_keys=preloaded["keys"],
        preload_stored=preloaded["stored"],
        elapsed_s=generator.elapsed_s(),
        counts=generator.counts(),
        latency_us={
            "min": latency.min_us,
            "mean": latency.mean_us,
            "p50": latency.percentile_us(50),
            "p90": latency.percentile_us(90),
            "p99": latency.percentile_us(99),
            "p99.9": latency.percentile_us(99.9),
            "max": latency.max_us,
        },
    )


def _allow_files(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
