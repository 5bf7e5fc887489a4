from collections.abc import Callable
from typing import Any, Self, final

from memagent._core.channel import Channel
from memagent._core.server import Server
from memagent._net.poller import Handler, Poller

GREETING_WORDS: bytes

@final
class Link(Handler):
    channel: Channel
    def __new__(cls, endpoint: Endpoint, channel: Channel) -> Self: ...

@final
class Endpoint:
    server: Server
    links: list[Link]
    connect_timeout_us: int
    def __new__(
        cls,
        server: Server,
        poller: Poller,
        addresses: list[tuple[int, Any]],
        *,
        on_connect: Callable[[int], None] | None = None,
    ) -> Self: ...
    def set_addresses(self, addresses: list[tuple[int, Any]]) -> None: ...
    def hold(self, reason: str) -> None: ...
    def release(self) -> None: ...
    def replace(self, addresses: list[tuple[int, Any]], keep_data: bool = False) -> None: ...
    def leave(self, reason: str) -> None: ...
    def connect(self) -> None: ...
    def close(self) -> None: ...
