"""Some data and a trickle of requests for the demo, so that there is something to look at."""

import json
import pickle
import random
import socket
import threading
import time
import zlib

_KEYS = 3000
_PER_S = 60
_PAUSE_S = 1.0


class Traffic:
    """Until the process ends; what fails is tried again: servers of a demo are there to be killed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._random = random.Random(1)  # noqa: S311 - it is no secret
        threading.Thread(target=self._run, name="traffic", daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self._port), 5) as connection:
                    for number in range(_KEYS):
                        self._ask(connection, self._set(number))
                    while True:
                        self._ask(connection, self._request())
                        time.sleep(self._random.expovariate(_PER_S))
            except OSError:
                time.sleep(_PAUSE_S)

    def _ask(self, connection: socket.socket, request: bytes) -> None:
        connection.sendall(request)
        reply = b""
        while not reply.endswith((b"END\r\n", b"STORED\r\n", b"FOUND\r\n", b"DELETED\r\n")):
            piece = connection.recv(1 << 16)
            # an error: the next request gets a connection of its own
            if not piece or piece.startswith((b"SERVER_ERROR", b"ERROR", b"CLIENT_ERROR")):
                raise ConnectionError
            reply += piece

    def _request(self) -> bytes:
        # Few keys are asked for often, as everywhere.
        number = min(int(self._random.paretovariate(0.6)) - 1, _KEYS - 1)
        match self._random.randrange(20):
            case 0 | 1:
                return self._set(number)
            case 2:
                return b"get missing:%d\r\n" % self._random.randrange(1000)
            case 3:
                keys = (_key(self._random.randrange(_KEYS)) for _ in range(10))
                return b"get %b\r\n" % b" ".join(keys)
            case _:
                return b"get %b\r\n" % _key(number)

    def _set(self, number: int) -> bytes:
        expiry_s = 0 if number % 3 else 3600
        value = _value(number)
        return b"set %b %d %d %d\r\n%b\r\n" % (_key(number), number % 4, expiry_s, len(value), value)


def _key(number: int) -> bytes:
    kind = (b"user", b"session", b"page", b"count", b"cart")[number % 5]
    return b"%b:%d" % (kind, number)


def _value(number: int) -> bytes:
    match number % 5:
        case 0:
            return json.dumps({"id": number, "name": f"User {number}", "tags": ["a", "b"]}).encode()
        case 1:
            return pickle.dumps({"user": number, "seen": [1, 2, 3]})
        case 2:
            return zlib.compress(f"<html><body>Page {number}</body></html>".encode() * 20)
        case 3:
            return b"%d" % number
        case _:
            return b'a:1:{s:4:"item";i:%d;}' % number
