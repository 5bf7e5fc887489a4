"""Who asked for what: a line in the log for every request that acts, whichever door it came in by.

Request ─▶ answer ─▶ its first line: it is done, or has begun ─▶ "an operator acts ..."
└──── RefusedError ─────────────────────────────▶ "an operator is refused ..."
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict
from typing import Any, Final

from memagent.admin import requests
from memagent.admin.requests import RefusedError, Request
from memagent.logs import Logger

_LOOKS: Final = (requests.Snapshot, requests.Metrics, requests.Counters, requests.Config, requests.Look)

Answer = Callable[[Request], AsyncIterator[dict[str, Any]]]


def acts(request: Request) -> bool:
    """Does it change anything?"""
    if isinstance(request, requests.LogLevel):
        return request.level is not None
    return not isinstance(request, _LOOKS)


async def audited(
    answer: Answer, request: Request, door: str, who: Mapping[str, Any], log: Logger
) -> AsyncIterator[dict[str, Any]]:
    """What `answer` says to a request that acts."""
    # Without what goes without saying.
    facts = {name: value for name, value in asdict(request).items() if value not in (None, False)}
    has_begun = False
    try:
        async for line in answer(request):
            if not has_begun:
                has_begun = True
                log.info(f"an operator acts {door}", **who, request=facts)
            yield line
    except RefusedError as refusal:
        log.warning(f"an operator is refused {door}", **who, request=facts, problem=refusal.error)
        raise
