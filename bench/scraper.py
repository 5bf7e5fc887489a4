"""Asks a running memagent for its metrics, as Prometheus would: `python -m bench.scraper SOCKET SECONDS`."""

import json
import socket
import sys
import time


class Scraper:
    """A connection to the control socket at this path."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._file = self._socket.makefile("rb")

    def scrape(self) -> str:
        self._socket.sendall(b'{"verb": "metrics"}\n')
        answer = json.loads(self._file.readline())
        return str(answer["text"])

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def main() -> None:
    """Until it is ended."""
    path, every_s = sys.argv[1], float(sys.argv[2])
    scraper = Scraper(path)
    while True:
        scraper.scrape()
        time.sleep(every_s)


if __name__ == "__main__":
    main()
