"""Who has connected to a Unix socket, by the kernel's word."""

import asyncio
import pwd
import socket
import struct
from asyncio.trsock import TransportSocket
from typing import Final, NamedTuple

from memagent.threads import in_thread

_UCRED: Final = struct.Struct("iII")
_LOOKUP_S: Final = 1.0


class Peer(NamedTuple):
    """`pid` is 0 and `uid` that of nobody where its namespaces are not ours."""

    pid: int
    uid: int

    @classmethod
    def of(cls, connection: "socket.socket | TransportSocket") -> "Peer":
        pid, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        return cls(pid, uid)

    def __str__(self) -> str:
        return f"unix uid {self.uid} pid {self.pid}"

    async def facts(self) -> dict[str, str | int]:
        """For the log: with the user's name, if it has one and no directory server takes long to tell."""
        facts: dict[str, str | int] = {"uid": self.uid, "pid": self.pid}
        try:
            async with asyncio.timeout(_LOOKUP_S):
                found = await in_thread(lambda: pwd.getpwuid(self.uid), f"name of user {self.uid}")
        except (TimeoutError, KeyError, OSError):
            return facts
        return {"user": found.pw_name, **facts}
