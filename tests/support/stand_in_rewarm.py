"""A re-warm that copies nothing: python -m tests.support.stand_in_rewarm, told by REWARM what to do.

done         reports progress, then done
wait         reports progress, then does nothing until it is told to abort; then it reports aborted
deaf         the same, but it never ends by itself
unverified   reports failed, with copies that were not verified
failed       reports failed
die          ends without a last report
nonsense     says what makes no sense, then done
"""

import os
import sys
from dataclasses import replace

from memagent.rewarm.job import Abort, Pause, Report, Resume, read_command, read_job, write


def say(report: Report) -> None:
    sys.stdout.buffer.write(write(report))
    sys.stdout.buffer.flush()


def main() -> None:
    given = read_job(sys.stdin.buffer.readline())
    does = os.environ.get("REWARM", "done")
    report = Report(
        "progress", "copying", kept=100, copied=40, bytes=4000, total=100, keys_per_s=10.0, eta_s=6.0
    )
    if does == "nonsense":
        sys.stdout.buffer.write(b"nonsense\n{}\n" + b"x" * 200_000 + b"\n")
        does = "done"
    say(report)
    match does:
        case "done":
            say(replace(report, event="done", phase="ended", copied=100, reason=str(given.target)))
        case "unverified":
            say(replace(report, event="failed", phase="ended", unverified=3, reason="target lost"))
        case "failed":
            say(replace(report, event="failed", phase="ended", reason="no source"))
        case "wait" | "deaf":
            for line in sys.stdin.buffer:
                match read_command(line):
                    case Pause():
                        say(replace(report, phase="paused"))
                    case Resume():
                        say(report)
                    case Abort() if does == "wait":
                        say(replace(report, event="aborted", phase="ended", reason="told to"))
                        return
            if does == "deaf":
                while True:
                    os.read(os.pipe()[0], 1)


if __name__ == "__main__":
    main()
