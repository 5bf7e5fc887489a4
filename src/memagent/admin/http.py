"""The second door: the control API over HTTP, in the supervisor's own loop.

    sockets (bound before privileges are dropped) ─▶ uvicorn ─▶ Guard ─▶ FastAPI (api, page) ─▶ Operators

- Needs memagent[admin]: a proxy without `admin_listen` never imports this.
- Signals and logs are ours: what uvicorn complains about is a line in our log.
- A connection that is silent, sends slowly or does not read is ended, and so is the one too many.
"""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from memagent.addresses import Address
from memagent.admin.api import Proxy, is_open, make_api
from memagent.admin.auth import Caller, Tokens
from memagent.admin.guard import Application, Guard, Message, Receive, Send
from memagent.admin.guesses import Guesses
from memagent.admin.page.routes import make_page
from memagent.admin.page.watch import Watch
from memagent.admin.peer import Peer
from memagent.logs import Logger

_MOST_CONNECTIONS: Final = 256  # every open page holds one
_LONGEST_S: Final = 30.0  # from connecting, or the last piece of an answer, to the next piece
_IDLE_S: Final = 10
_LONGEST_HEAD_BYTES: Final = 16 * 1024
_LAST_WORDS_S: Final = 1
_TELL_EVERY_S: Final = 1.0


class HttpDoor:
    """Made in a running loop. `listen` is what the sockets, which are its own from now on, are bound to."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        listen: Address,
        tokens: Callable[[], Tokens],
        proxy: Proxy,
        watch: Watch,
        most_connections: int = _MOST_CONNECTIONS,
        longest_s: float = _LONGEST_S,
    ) -> None:
        logger = logging.getLogger("uvicorn.error")
        logger.handlers, logger.propagate = [_ToOurLog(proxy.log)], False
        logger.setLevel(logging.ERROR)

        class Connection(_Connection):
            most = most_connections
            patience_s = longest_s

        turned_away, guesses = _TurnedAway(proxy.log), Guesses()
        api = make_api(proxy, make_page(watch, proxy, listen, tokens, turned_away, guesses))
        config = uvicorn.Config(
            Guard(api, listen, tokens, turned_away, is_open, guesses),
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,  # who asks is who has connected
            server_header=False,
            timeout_keep_alive=_IDLE_S,
            timeout_graceful_shutdown=_LAST_WORDS_S,
            h11_max_incomplete_event_size=_LONGEST_HEAD_BYTES,
        )
        self._watch = watch
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=list(sockets)))

    async def close(self) -> None:
        """What is under way may end within a second."""
        self._watch.close()
        self._server.over.set()
        await asyncio.wait([self._task])
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.over = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        # uvicorn's own wakes up ten times a second.
        await self.over.wait()


class _Connection(H11Protocol):
    most: int
    patience_s: float
    _patience: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._application: Application = self.app
        self.app = self._run

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if connection.family == socket.AF_UNIX:
            # In place of host and port, for the log.
            self.client = str(Peer.of(connection)), 0
        if len(self.connections) > self.most:
            transport.abort()
            return
        self._wait_anew()

    async def _run(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """The application; an answer that goes on, as what pages watch does, may take for ever."""

        async def send_on(message: Message) -> None:
            await send(message)
            self._wait_anew()

        await self._application(scope, receive, send_on)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._patience is not None:
            self._patience.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._wait_anew()
        super().on_response_complete()

    def _wait_anew(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
        self._patience = self.loop.call_later(self.patience_s, self.transport.abort)


class _TurnedAway:
    """Logs whoever may not: a line a second at most, since anybody can knock."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._told_s = float("-inf")
        self._untold = 0

    def __call__(self, caller: Caller, path: str) -> None:
        now_s = time.monotonic()
        if now_s - self._told_s < _TELL_EVERY_S:
            self._untold += 1
            return
        facts: dict[str, Any] = {"more_before": self._untold} if self._untold else {}
        self._told_s, self._untold = now_s, 0
        self._log.warning("turned away over HTTP", who=caller.who, peer=caller.peer, path=path[:200], **facts)


class _ToOurLog(logging.Handler):
    """A mistake of ours in an answer: the traceback goes where all others go."""

    def __init__(self, log: Logger) -> None:
        super().__init__(logging.ERROR)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.error("HTTP", problem=record.getMessage().strip(), exc_info=record.exc_info)
