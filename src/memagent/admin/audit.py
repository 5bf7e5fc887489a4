"""Who asked for what: a line in the log for every request that acts, whichever door it came in by.

Request ─▶ answer ─▶ its first line: it is done, or has begun ─▶ "an operator acts ..."
└──── RefusedError ─────────────────────────────▶ "an operator is refused ..."
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import asdict
from typing import Any, Final

from memagent.admin import requests
from memagent.admin.requests import RefusedError, Request
from memagent.logs import Logger

_LOOKS: Final = (
    *(requests.Snapshot, requests.Metrics, requests.Counters, requests.Config, requests.Look),
    *(requests.Hot, requests.Slow),
)

Answer = Callable[[Request], AsyncGenerator[dict[str, Any], None]]


def acts(request: Request) -> bool:
    """Does it change anything, or show live what clients do?"""
    if isinstance(request, requests.LogLevel):
        return request.level is not None
    return not isinstance(request, _LOOKS)


async def audited(
    answer: Answer, request: Request, door: str, who: Mapping[str, Any], log: Logger
) -> AsyncGenerator[dict[str, Any], None]:
    """What `answer` says to a request that acts."""
    # Without what goes without saying.
    facts = {name: value for name, value in asdict(request).items() if value not in (None, False)}
    async with aclosing(told(answer(request), facts, door, who, log)) as lines:
        async for line in lines:
            yield line


async def told(
    lines: AsyncGenerator[dict[str, Any], None],
    facts: Mapping[str, Any],
    door: str,
    who: Mapping[str, Any],
    log: Logger,
) -> AsyncGenerator[dict[str, Any], None]:
    """The lines of an answer; the log tells that somebody acts, as `facts` say."""
    has_begun = False
    try:
        async with aclosing(lines):
            async for line in lines:
                if not has_begun:
                    has_begun = True
                    log.info(f"an operator acts {door}", **who, request=facts)
                yield line
    except RefusedError as refusal:
        log.warning(f"an operator is refused {door}", **who, request=facts, problem=refusal.error)
        raise
