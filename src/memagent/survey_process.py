"""A survey as the supervisor sees it: a process that is given a job, and says lines until it ends.

    Job ─▶ stdin │ memagent.survey │ stdout ─▶ progress ..., and one last line: a result or an error

Its lines go on to who has asked as they are: a result may be large, and the supervisor has more to do.
"""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from typing import Final

from memagent.processes import describe_end, send_signal
from memagent.survey.job import Job, is_last, write_error, write_job

SURVEY_MODULE: Final = "memagent.survey"
_LONGEST_LINE_BYTES: Final = 16 * 1024 * 1024


class SurveyProcess:
    """Made by `start`; kill it when nobody wants to know any more."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(
        cls, given: Job, environment: Mapping[str, str], stderr_fd: int | None, module: str = SURVEY_MODULE
    ) -> "SurveyProcess":
        """OSError if the machine cannot start one more process."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr_fd,
            env=environment,
            limit=_LONGEST_LINE_BYTES,
        )  # fmt: skip
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.write(write_job(given))
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """What it says, and if it ends without a last word, what has happened."""
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError):  # a line without an end
            while line := await self._process.stdout.readline():
                yield line
                if is_last(line):
                    return
        self.kill()
        ended = describe_end(await self._process.wait())
        yield write_error(f"the process that counts keys ended: {ended}", "its last words are in the log")

    def kill(self) -> None:
        send_signal(self._process, signal.SIGKILL)
