"""A survey that counts nothing: python -m tests.support.stand_in_survey, told by SURVEY what to do.

done      says progress, then a result
long      the same, with a long result
hang      says progress, and then nothing any more
die       says progress, and ends without a result
endless   says progress, and then a line that never ends
"""

import os
import sys

from memagent.survey.job import Progress, line, read_job, write_progress


def say(said: bytes) -> None:
    sys.stdout.buffer.write(said)
    sys.stdout.buffer.flush()


def main() -> int:
    given = read_job(sys.stdin.buffer.readline())
    say(write_progress(Progress(keys_expected=10)))
    match os.environ.get("SURVEY", "done"):
        case "die":
            return 3
        case "hang":
            while True:
                os.read(os.pipe()[0], 1)
        case "endless":
            while True:
                say(b"x" * 100_000)
        case "long":
            say(line({"result": "x" * 5_000_000}))
        case _:
            say(line({"result": given.what}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
