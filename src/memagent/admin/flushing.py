"""flush_all as a client asks for it: of one server, or of all of a pool, which a worker does."""

import asyncio
from collections.abc import Callable
from typing import Final

from memagent.addresses import parse_address
from memagent.admin.requests import RefusedError
from memagent.errors import ServerError
from memagent.inspection.client import ask
from memagent.inspection.keys import shown
from memagent.threads import in_thread

_DEADLINE_S: Final = 10.0
_PERHAPS: Final = "it may be done nevertheless"


class PoolFlush:
    """One at a time. `tell` a worker: with which number to answer, and which pool it is about."""

    def __init__(self, tell: Callable[[int, str], None]) -> None:
        self._tell = tell
        self._one_at_a_time = asyncio.Lock()
        self._number = 0
        self._reply: asyncio.Future[str] | None = None

    async def flush(self, pool: str) -> None:
        """RefusedError unless every server has done it."""
        async with self._one_at_a_time:
            self._number += 1
            self._reply = asyncio.get_running_loop().create_future()
            self._tell(self._number, pool)
            try:
                reply = await asyncio.wait_for(self._reply, _DEADLINE_S)
            except TimeoutError:
                raise RefusedError(f"no answer within {_DEADLINE_S:g} s", _PERHAPS) from None
        if reply != "OK":
            hint = "a server that is down is flushed on return"
            raise RefusedError(f"the pool {pool} is not flushed as a whole: {reply}", hint)

    def heard(self, number: int, reply: str) -> None:
        """What came too late was for somebody else."""
        if number == self._number and self._reply is not None and not self._reply.done():
            self._reply.set_result(reply)


async def flush_all(at: str) -> None:
    """RefusedError unless the server there says that it is done."""
    address = parse_address(at)
    try:
        async with asyncio.timeout(_DEADLINE_S):
            reply = await in_thread(lambda: ask(address, b"flush_all\r\n", _DEADLINE_S), "flush a server")
    except (ServerError, TimeoutError) as error:
        problem = error.message if isinstance(error, ServerError) else f"no answer within {_DEADLINE_S:g} s"
        raise RefusedError(f"{at} has not said that it is flushed: {problem}", _PERHAPS) from None
    if reply != b"OK":
        raise RefusedError(f"{at} has not flushed everything: {shown(reply)}")
