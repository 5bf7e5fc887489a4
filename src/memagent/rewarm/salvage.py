"""After the target was lost: take back at it what was copied and never verified.

It may be another process by now, and empty; it may be the same one, reached again; or out of reach, and then
somebody else has to empty it before it answers alone.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final

from memagent._core.warming import CLEAR, Batch
from memagent.errors import MemagentError
from memagent.rewarm.wire import Wire

_TRIES: Final = 3


def salvage(batches: Sequence[Batch], connect: Callable[[], Wire], identity: str, settle_s: float) -> int:
    """How many keys are left there unverified. What was sent before may take effect for `settle_s`."""
    unverified = sum(batch.doubt() for batch in batches)
    if not unverified:
        return 0
    time.sleep(settle_s)
    for _ in range(_TRIES):
        try:
            wire = connect()
        except MemagentError:
            time.sleep(settle_s / _TRIES)
            continue
        try:
            found = wire.introduce(stay_blocking=True).identity
            if found and identity and found != identity:
                return 0
            for batch in batches:
                unverified -= _clear(wire, batch)
        except MemagentError:
            continue
        finally:
            wire.close()
        return unverified
    return unverified


def _clear(wire: Wire, batch: Batch) -> int:
    """How many it were."""
    doubtful = batch.doubt()
    if not doubtful:
        return 0
    wire.queue(batch.clear())
    wire.flush()
    while True:
        wire.start = batch.hear(CLEAR, wire.buffer, wire.start, wire.end)
        if batch.heard:
            batch.forget()
            return doubtful
        wire.receive()
