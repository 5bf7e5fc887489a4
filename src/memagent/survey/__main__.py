"""The process: a job on standard input, progress and a result on standard output."""

import base64
import contextlib
import os
import select
import signal
import sys
import threading
from dataclasses import replace
from typing import Any, Final

from memagent.errors import MemagentError
from memagent.inspection.places import Places
from memagent.survey.browse import Browse
from memagent.survey.distribution import Distribution
from memagent.survey.job import Job, Progress, line, read_job, write_error, write_progress
from memagent.survey.reading import Counting, survey, timeout_of
from memagent.topology import make_placement

_TELL_EVERY_S: Final = 0.2
_TELL_AT_LEAST_EVERY: Final = 25  # of these
_NICENESS: Final = 5  # a server waits for its reader, so not the least of all


class Teller(threading.Thread):
    """Tells how far it is, and ends the process when nobody wants to know any more."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(daemon=True)
        self._progress = progress
        self._over, self._ends = os.pipe()

    def run(self) -> None:
        told, unchanged = None, 0
        while True:
            now = replace(self._progress)
            unchanged = unchanged + 1 if now == told else 0
            if unchanged % _TELL_AT_LEAST_EVERY == 0:
                say(write_progress(now))
                told = now
            readable, _, _ = select.select([0, self._over], [], [], _TELL_EVERY_S)
            if self._over in readable:
                return
            if readable and not os.read(0, 4096):
                os._exit(0)

    def end(self) -> None:
        os.write(self._ends, b".")
        self.join()


def say(said: bytes) -> None:
    """All of it; the process ends if nobody is left who reads."""
    view = memoryview(said)
    while view:
        try:
            view = view[os.write(1, view) :]
        except OSError:
            os._exit(0)


def counted(job: Job, progress: Progress) -> dict[str, Any]:
    places = Places(job.pool, make_placement(job.pool))
    counting: Counting
    if job.what == "distribution":
        counting = Distribution(places, timeout_of(job.pool))
    else:
        prefix, after = base64.b64decode(job.prefix_base64), base64.b64decode(job.after_base64)
        counting = Browse(places, job.states, prefix, job.pattern, job.only, after)
    return survey(places, job.states, counting, progress)


def main() -> int:
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    for ignored in (signal.SIGINT, signal.SIGHUP):  # a terminal's, which are for the supervisor
        signal.signal(ignored, signal.SIG_IGN)
    try:
        job = read_job(sys.stdin.buffer.readline())
    except ValueError as error:
        print(f"memagent.survey: this is no job: {error}", file=sys.stderr)
        return 2
    progress = Progress()
    teller = Teller(progress)
    teller.start()
    try:
        last = line({"result": counted(job, progress)})
    except MemagentError as error:
        last = write_error(error.message, error.hint)
    teller.end()
    say(last)
    return 0


if __name__ == "__main__":
    sys.exit(main())
