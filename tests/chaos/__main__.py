"""`make chaos`: episodes with faults for CHAOS_SECONDS, from CHAOS_SEED on; each can be run alone again."""

import os
import random
import sys
import time

from tests.chaos.episode import Episode, Result
from tests.chaos.world import Variant

EPISODE_S = 60.0


def main() -> int:
    seconds = float(os.environ.get("CHAOS_SECONDS", "1800"))
    seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(1_000_000))
    end = time.monotonic() + seconds
    results: list[Result] = []
    print(f"CHAOS_SEED={seed} CHAOS_SECONDS={seconds:g}", flush=True)
    while (left := end - time.monotonic()) > 1 or not results:
        variant = Variant.draw(random.Random(seed))
        print(f"=== {time.strftime('%H:%M:%S')} CHAOS_SEED={seed}: {variant}", flush=True)
        results.append(Episode(variant, seed, min(EPISODE_S, left)).run())
        print(results[-1].render(), flush=True)
        seed += 1
    violations = sum(len(result.violations) for result in results)
    print(
        f"=== {len(results)} episodes, {sum(result.replies for result in results)} replies, "
        f"{sum(sum(result.faults.values()) for result in results)} faults, {violations} violations, "
        f"slowest reply {max(result.slowest_s for result in results) * 1000:.0f} ms"
    )
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
