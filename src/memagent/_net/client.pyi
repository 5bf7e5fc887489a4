from typing import Self, final

from memagent._core.routes import Routes
from memagent._core.session import Session
from memagent._net.poller import Handler, Poller

@final
class ClientConnection(Handler):
    session: Session
    def __new__(cls, poller: Poller, fd: int, routes: Routes) -> Self: ...
    def peer(self) -> bytes: ...
