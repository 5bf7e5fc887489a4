"""The doors for operators: the control socket, and HTTP with `admin_listen`. Behind both stands one `answer`.

The control socket is closed as soon as the proxy drains: who starts the next proxy on this port must not find
this one's. HTTP stays until the end: /health/ready says that it drains.
"""

import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from memagent.activation import Activated
from memagent.addresses import parse_listen
from memagent.admin.audit import Answer
from memagent.admin.auth import Tokens
from memagent.admin.door import Door, open_door
from memagent.counts import Counts
from memagent.errors import StartError
from memagent.listeners import Listeners
from memagent.logs import Logger
from memagent.settings import Config, ListenAddress
from memagent.snapshot import Snapshot
from memagent.survey.job import Job
from memagent.survey_process import SurveyProcess

if TYPE_CHECKING:
    from memagent.admin.http import HttpDoor


def bind_http(
    listen: str | None, owner: tuple[int, int] | None, activated: Activated | None = None
) -> Listeners:
    """For `admin_listen`; none without it. StartError if it cannot be had, or the libraries are missing.

    The libraries are loaded here, while all may be read.
    """
    if listen is None:
        return Listeners()
    try:
        import memagent.admin.http  # noqa: F401
    except ImportError as error:
        missing = f"admin_listen needs what is not installed: {error.name}"
        raise StartError(missing, "pip install 'memagent[admin]'") from None
    address = ListenAddress.model_validate(listen)
    return Listeners.bind({"": [address]}, 1, owner, "admin_listen", private=True, activated=activated)


class Doors:
    """`config` in force; `gaps`: why no traffic should come here."""

    def __init__(
        self,
        http_listeners: Listeners,
        answer: Answer,
        config: Callable[[], Config],
        snapshot: Callable[[], Snapshot],
        count: Callable[[Snapshot], Counts],
        gaps: Callable[[], list[str]],
        start_survey: Callable[[Job], Awaitable[SurveyProcess]],
        log: Logger,
    ) -> None:
        self._http_listeners = http_listeners
        self._answer = answer
        self._config = config
        self._snapshot = snapshot
        self._count = count
        self._gaps = gaps
        self._start_survey = start_survey
        self._log = log
        self._door: Door | None = None
        self._left: list[Door] = []
        self._http: HttpDoor | None = None

    async def open(self, listen: str, control: socket.socket | None = None) -> None:
        """`listen` is the proxy's first address as it has it: port 0 stands for any. StartError.

        `control`: what the proxy before us hands over in place of a control socket of our own.
        """
        config = self._config()
        self._door = await open_door(config.control_socket, listen, self._answer, self._log, control)
        if config.admin_listen is not None:
            self._open_http(config.admin_listen)

    async def move(self, listen: str) -> None:
        """The first address is another one, and who seeks the control socket goes by that. Who is in
        stays.
        """
        config, before = self._config(), self._door
        if config.control_socket is not None or (before is not None and before.is_for(listen)):
            return
        door = await open_door(None, listen, self._answer, self._log)
        if door is None:
            if before is not None:
                self._log.warning("the control socket stays where it was", path=before.path)
            return
        self._door = door
        self._log.info("control socket", path=door.path)
        if before is not None:
            before.leave()
            self._left = [each for each in (*self._left, before) if each.is_in_use]

    async def close_control(self) -> None:
        if self._door is not None:
            await self._door.close()
            self._door = None

    async def close(self) -> None:
        await self.close_control()
        for door in self._left:
            await door.close()
        await self.close_http()

    async def close_http(self) -> None:
        if self._http is not None:
            http, self._http = self._http, None
            await http.close()

    # ------------------------------------------------------------ from one proxy to the next

    @property
    def control(self) -> int:
        """The control socket's file descriptor. Only where there is one."""
        assert self._door is not None
        return self._door.fileno()

    def take_over(self) -> None:
        """All files of what was handed over are ours."""
        self._http_listeners.take_over()
        if self._door is not None:
            self._door.take_over()

    def pause(self) -> None:
        """An operator who comes now is for whoever answers at the control socket next."""
        if self._door is not None:
            self._door.pause()

    def resume(self) -> None:
        """It is us after all."""
        if self._door is not None:
            self._door.resume()

    def hand_over(self) -> None:
        """Another proxy has all sockets too. Operators who are in stay until `close`, or `close_http`."""
        self._http_listeners.forget()
        if self._door is not None:
            self._door.hand_over()
            self._left.append(self._door)
            self._door = None

    def _open_http(self, listen: str) -> None:
        from memagent.admin.api import Proxy
        from memagent.admin.http import HttpDoor
        from memagent.admin.keys import KeyLookup
        from memagent.admin.page.watch import Watch
        from memagent.admin.surveying import Surveys
        from memagent.admin.writing import KeyWriter

        keys = KeyLookup(self._config, self._snapshot)
        writer = KeyWriter(self._config, self._snapshot)
        surveys = Surveys(self._config, self._snapshot, self._start_survey)
        proxy = Proxy(
            *(self._answer, self._snapshot, self._gaps, keys.look_up, writer.write, surveys.survey, self._log)
        )
        watch = Watch(self._config, self._snapshot, self._count, self._log)
        sockets = self._http_listeners.sockets()
        self._http = HttpDoor(sockets, parse_listen(listen), self._tokens, proxy, watch)
        self._log.info("control API", listen=self._http_listeners.addresses)

    def _tokens(self) -> Tokens:
        """Those in force: they change with a reload."""
        given = self._config().admin_read_token, self._config().admin_operator_token
        return Tokens(*(each.get_secret_value().encode() if each is not None else None for each in given))
