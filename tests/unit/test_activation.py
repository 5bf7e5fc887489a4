"""Sockets that systemd hands over. Descriptor 3 is theirs by contract, so a process of its own takes them."""

import os
import socket
import subprocess
import sys

import pytest

from memagent.activation import Activated
from memagent.errors import StartError

# Puts a socket of the kind that is asked for at 3, then does what we do at our start.
CHILD = """
import os, socket, sys
from memagent.activation import Activated
from memagent.errors import StartError
each = {
    "tcp": lambda: socket.create_server(("127.0.0.1", 0)),
    "udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "connection": lambda: socket.socketpair()[0],
    "file": lambda: open(os.devnull),
}[sys.argv[1]]()
os.dup2(each.fileno(), 100)
each.close()
os.closerange(3, 100)
os.dup2(100, 3)
environ = {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "a.socket", "HOME": "/"}
try:
    (taken,) = Activated.take(environ, os.getpid())._sockets
    print(taken.fileno(), taken.getblocking(), os.get_inheritable(3), environ)
except StartError as error:
    print(error.message)
"""


def said(kind: str) -> str:
    done = subprocess.run([sys.executable, "-c", CHILD, kind], capture_output=True, timeout=30, check=True)
    return done.stdout.decode().strip()


def test_a_listening_socket_is_taken_and_kept_from_children():
    assert said("tcp") == "3 False False {'HOME': '/'}"


@pytest.mark.parametrize("kind", ["udp", "connection"])
def test_what_nobody_can_connect_to_is_refused(kind: str):
    assert said(kind) == "socket 3 (a.socket) from systemd: nobody can connect to it"


def test_what_is_no_socket_is_refused():
    assert said("file") == "socket 3 (a.socket) from systemd: Socket operation on non-socket"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"LISTEN_FDS": "1"},
        {"LISTEN_FDS": "1", "LISTEN_PID": "1"},
        {"LISTEN_FDS": "one", "LISTEN_PID": str(os.getpid())},
        {"LISTEN_FDS": "0", "LISTEN_PID": str(os.getpid())},
    ],
)
def test_without_sockets_for_us_nothing_is_taken(given: dict[str, str]):
    environ = {**given, "LISTEN_FDNAMES": "a"}
    Activated.take(environ, os.getpid()).check_none_left()
    assert environ == {}


def test_what_is_claimed_is_not_left_and_the_rest_is_named_and_closed():
    first, second = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    with first, second:
        activated = Activated([first, second])
        where = first.getsockname()
        assert activated.claim(socket.AF_INET6, where) == []
        assert activated.claim(socket.AF_INET, where) == [first]
        assert activated.claim(socket.AF_INET, where) == []
        name = f"127.0.0.1:{second.getsockname()[1]}"
        with pytest.raises(StartError) as caught:
            activated.check_none_left()
        assert caught.value.message.endswith(f"neither listen nor admin_listen names: {name}")
        with pytest.raises(StartError, match="another hands over"):
            Activated([second], "another", "ask it").check_none_left()
        activated.close()
        assert (first.fileno() >= 0, second.fileno()) == (True, -1)
    Activated().check_none_left()
