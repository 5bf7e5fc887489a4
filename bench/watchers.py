"""Pages that are left open: `python -m bench.watchers ADDRESS NUMBER` reads their streams for ever."""

import asyncio
import sys


async def _page(host: str, port: str) -> None:
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /v1/watch HTTP/1.1\r\nHost: localhost\r\n\r\n")
    while await reader.read(1 << 18):
        pass
    raise ConnectionError("a stream has ended")


async def _pages(address: str, number: int) -> None:
    host, _, port = address.rpartition(":")
    await asyncio.gather(*(_page(host, port) for _ in range(number)))


if __name__ == "__main__":
    asyncio.run(_pages(sys.argv[1], int(sys.argv[2])))
