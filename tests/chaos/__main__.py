"""`make chaos`: episodes with faults for CHAOS_SECONDS, from CHAOS_SEED on; each can be run alone again.

CHAOS_WORKERS=1 or 2: with so many only. The code is 1 after any violation.
"""

import dataclasses
import os
import random
import sys
import time
import traceback

from tests.chaos.episode import Episode, Result
from tests.chaos.models import Violation
from tests.chaos.totals import totals
from tests.chaos.world import Variant

EPISODE_S = 60.0


def episode(seed: int, variant: Variant, seconds: float) -> Result:
    """One that ends with an error of its own has shown nothing, and that is a violation too."""
    try:
        return Episode(variant, seed, seconds).run()
    except Exception as error:
        result = Result(variant)
        text = f"{error!r}\n{traceback.format_exc()}"
        result.violations.append(Violation("broken episode", text, None, "-", time.monotonic()))
        return result


def main() -> int:
    seconds = float(os.environ.get("CHAOS_SECONDS") or 1800)
    seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(1_000_000))
    workers = int(os.environ.get("CHAOS_WORKERS") or 0)
    end = time.monotonic() + seconds
    results: list[tuple[int, Result]] = []
    print(f"CHAOS_SEED={seed} CHAOS_SECONDS={seconds:g}", flush=True)
    while (left := end - time.monotonic()) > 1 or not results:
        variant = Variant.draw(random.Random(seed))
        if workers:
            variant = dataclasses.replace(variant, workers=workers)
        print(f"=== {time.strftime('%H:%M:%S')} CHAOS_SEED={seed}: {variant}", flush=True)
        results.append((seed, episode(seed, variant, min(EPISODE_S, left))))
        print(results[-1][1].render(), flush=True)
        seed += 1
    print(f"\n{totals(results)}")
    return 1 if any(result.violations for _, result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
