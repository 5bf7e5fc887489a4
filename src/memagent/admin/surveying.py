"""All keys of a pool, counted for the page: by a process of its own, and no more than one at a time.

Wish ─▶ Job ─▶ process ─▶ lines (survey.job) ─▶ who has asked; who goes away ends the process
"""

import asyncio
import base64
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from memagent.admin.keys import decoded
from memagent.admin.requests import InvalidError, RefusedError, UnknownError
from memagent.inspection.keys import MOST_KEY_BYTES
from memagent.settings import Config, PoolConfig
from memagent.snapshot import Snapshot
from memagent.survey.job import Job
from memagent.survey_process import SurveyProcess
from memagent.units import quoted


class Wish(BaseModel):
    """What the page asks. The rest is for browse: keys that begin so and whose whole fits the pattern (`*`
    and `?`), of one server or of all, behind the key `after`.
    """

    model_config = ConfigDict(extra="forbid")
    what: Literal["distribution", "browse"]
    pool: str
    prefix_base64: str = ""
    pattern: str = Field("", max_length=MOST_KEY_BYTES)
    server: str | None = None
    backup: bool = False
    after_base64: str = ""
    order: Literal["key"] = "key"


class Surveys:
    """`config` and `snapshot`: as they are now. `start`: OSError if there can be no process."""

    def __init__(
        self,
        config: Callable[[], Config],
        snapshot: Callable[[], Snapshot],
        start: Callable[[Job], Awaitable[SurveyProcess]],
    ) -> None:
        self._config = config
        self._snapshot = snapshot
        self._start = start
        self._one_at_a_time = asyncio.Lock()

    async def survey(self, wish: Wish) -> AsyncGenerator[bytes, None]:
        """Lines as in survey.job. Before the first RefusedError, UnknownError, InvalidError."""
        job = self._job(wish)
        if self._one_at_a_time.locked():
            raise RefusedError("keys are being counted already", "try again")
        async with self._one_at_a_time:
            try:
                process = await self._start(job)
            except OSError as error:
                raise RefusedError(f"no process can be started to count keys: {error.strerror}") from None
            try:
                async for line in process.lines():
                    yield line
            finally:
                process.kill()

    def _job(self, wish: Wish) -> Job:
        pool = next((each for each in self._config().pools if each.name == wish.pool), None)
        if pool is None:
            raise UnknownError(f"there is no pool {quoted(wish.pool)}")
        servers = next(each for each in self._snapshot().pools if each.name == wish.pool).servers
        return Job(
            what=wish.what,
            pool=pool,
            states=tuple(each.state for each in servers),
            prefix_base64=_checked(wish.prefix_base64, "prefix_base64"),
            pattern=wish.pattern,
            only=_position(pool, wish),
            after_base64=_checked(wish.after_base64, "after_base64"),
        )


def _checked(given: str, what: str) -> str:
    """Of what may be a key or the start of one. InvalidError."""
    found = decoded(given.encode(errors="replace"), what)
    if len(found) > MOST_KEY_BYTES:
        raise InvalidError(f"{what} has {len(found)} bytes, and a key has at most {MOST_KEY_BYTES}")
    return base64.b64encode(found).decode()


def _position(pool: PoolConfig, wish: Wish) -> int | None:
    if wish.server is None:
        return None
    listed = pool.backups if wish.backup else pool.servers
    names = [each.name for each in listed]
    if wish.server not in names:
        kind = "backup" if wish.backup else "server"
        raise UnknownError(f"there is no {kind} {quoted(wish.server)} in the pool {pool.name}")
    return names.index(wish.server) + (len(pool.servers) if wish.backup else 0)
