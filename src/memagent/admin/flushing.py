"""flush_all as a client asks for it: of one server, or of the proxy itself with all its servers."""

import asyncio
from typing import Final

from memagent.addresses import parse_address
from memagent.admin.requests import RefusedError

_DEADLINE_S: Final = 10.0


async def flush_all(at: str, hint: str | None = None) -> None:
    """RefusedError unless who listens there says that it is done; `hint` is for a refusal of theirs."""
    address = parse_address(at)
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
        raise RefusedError(f"no answer within {_DEADLINE_S:g} s", "it may be done nevertheless") from None
    except (OSError, ValueError) as error:
        raise RefusedError(f"cannot ask {at} to flush: {error}") from None
    if reply != b"OK\r\n":
        what = reply.strip().decode(errors="backslashreplace") or "it hung up"
        raise RefusedError(f"{at} has not flushed everything: {what}", hint)
