"""Who has connected."""

import asyncio
import os
import pwd
import socket
import threading

import pytest

from memagent.admin import peer
from memagent.admin.peer import Peer

HERE = Peer(os.getpid(), os.getuid())


def test_the_kernel_knows():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert Peer.of(ours) == HERE
    assert str(HERE) == f"unix uid {os.getuid()} pid {os.getpid()}"


def test_in_the_log_it_has_its_name():
    name = pwd.getpwuid(os.getuid()).pw_name
    assert asyncio.run(HERE.facts()) == {"user": name, "uid": HERE.uid, "pid": HERE.pid}


def test_a_user_without_a_name_is_its_number():
    assert asyncio.run(Peer(1, 4_000_000_000 - 1).facts()) == {"uid": 3_999_999_999, "pid": 1}


def test_a_name_that_takes_long_is_left_out(monkeypatch: pytest.MonkeyPatch):
    told = threading.Event()
    monkeypatch.setattr(peer, "_LOOKUP_S", 0.01)
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: told.wait(30))
    assert asyncio.run(HERE.facts()) == {"uid": HERE.uid, "pid": HERE.pid}
    told.set()
