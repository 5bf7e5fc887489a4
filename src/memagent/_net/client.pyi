from typing import final

from memagent._core.session import Session
from memagent._net.poller import Handler, Poller

@final
class ClientConnection(Handler):
    session: Session
    def __init__(self, poller: Poller, fd: int) -> None: ...
