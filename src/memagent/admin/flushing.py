"""flush_all as a client does it, at the proxy's own address: all that holds for clients' holds for it."""

import asyncio
from typing import Final

from memagent.addresses import parse_address
from memagent.admin.requests import RefusedError

_DEADLINE_S: Final = 10.0


async def flush_all(listen: str) -> None:
    """At the proxy that listens there; RefusedError unless every server and backup has done it."""
    address = parse_address(listen)
    try:
        async with asyncio.timeout(_DEADLINE_S):
            if address.path is not None:
                reader, writer = await asyncio.open_unix_connection(address.path)
            else:
                reader, writer = await asyncio.open_connection(address.host, address.port)
            try:
                writer.write(b"flush_all\r\n")
                reply = await reader.readline()
            finally:
                writer.transport.abort()
    except TimeoutError:
        raise RefusedError(f"no answer within {_DEADLINE_S:g} s", "some servers may be flushed") from None
    except (OSError, ValueError) as error:
        raise RefusedError(f"cannot flush through {listen}: {error}") from None
    if reply != b"OK\r\n":
        what = reply.strip().decode(errors="backslashreplace") or "it hung up"
        raise RefusedError(f"not everything is flushed: {what}", "a server that is down is flushed on return")
