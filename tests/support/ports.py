"""Free TCP ports on 127.0.0.1."""

import os
import random
import socket


def _range() -> tuple[int, int]:
    """Each of several test processes at once has ports of its own.

    All are below the kernel's own (32768 and up): no outgoing connection can take one between choice and use.
    """
    lowest, highest = 12_100, 32_000
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    share = (highest - lowest) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return lowest + number * share, lowest + (number + 1) * share - 1


_LOWEST, _HIGHEST = _range()
_given: set[int] = set()
_random = random.SystemRandom()


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        # As servers do: a port with nothing but closed connections in TIME_WAIT counts as free.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError:
            return False
    return True


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on and that this test run has not given out before."""
    for _ in range(1000):
        port = _random.randint(_LOWEST, _HIGHEST)
        if port not in _given and is_free(port, host):
            _given.add(port)
            return port
    raise RuntimeError(f"no free port between {_LOWEST} and {_HIGHEST}")


def free_ports(count: int) -> list[int]:
    return [free_port() for _ in range(count)]
