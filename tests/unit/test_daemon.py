"""What a daemon does to itself."""

import grp
import os
import pwd
import subprocess
import sys

import pytest

from memagent.daemon import Daemon, Identity, StartingProcess, find_identity
from memagent.errors import StartError
from tests.support.processes import ROOT


@pytest.fixture
def nobody() -> pwd.struct_passwd:
    return pwd.getpwnam("nobody")


def in_child(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", f"from memagent.daemon import *; {code}"],
        capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip


def test_nothing_changes_for_who_asks_for_nothing_or_for_what_is():
    assert find_identity(None, None) is None
    me = pwd.getpwuid(os.getuid())
    group = grp.getgrgid(os.getgid()).gr_name
    assert find_identity(me.pw_name, group) is None
    assert find_identity(str(os.getuid()), str(os.getgid())) is None


@pytest.mark.parametrize("user", ["no-such-user", "4294967290", "9" * 30, "-1", "\u00b2"])
def test_a_user_that_does_not_exist(user: str):
    with pytest.raises(StartError, match="no such user"):
        find_identity(user, None)
    with pytest.raises(StartError, match="no such group"):
        find_identity(None, user)


def test_root_may_be_anybody_and_others_only_themselves(nobody: pwd.struct_passwd):
    if os.geteuid() != 0:
        with pytest.raises(StartError, match="user nobody: only root may"):
            find_identity("nobody", None)
        return
    assert find_identity("nobody", None) == Identity(nobody.pw_uid, nobody.pw_gid, "nobody")
    assert find_identity(str(nobody.pw_uid), "root") == Identity(nobody.pw_uid, 0, "nobody")
    assert find_identity(None, str(nobody.pw_gid)) == Identity(0, nobody.pw_gid, None)


def test_the_starting_process_hears_how_it_went():
    def told(daemon_says: object) -> None:
        ours, theirs = os.pipe()
        daemon = Daemon(theirs)
        if isinstance(daemon_says, StartError):
            daemon.failed(daemon_says)
        else:
            os.close(theirs)
        StartingProcess(ours).wait()

    with pytest.raises(StartError, match="a reason") as caught:
        told(StartError("a reason", "a hint"))
    assert caught.value.hint == "a hint"
    with pytest.raises(StartError, match="ended before it was ready"):
        told(None)


def test_a_new_user_has_no_way_back(nobody: pwd.struct_passwd):
    if os.geteuid() != 0:
        done = in_child("become(Identity(65534, 65534, 'nobody'))")
        assert "StartError: cannot run as user 65534" in done.stderr
        return
    done = in_child(
        "become(find_identity('nobody', None));print(os.getresuid(), os.getresgid(), os.getgroups())"
    )
    uid, gid = nobody.pw_uid, nobody.pw_gid
    assert done.stdout.strip() == f"({uid}, {uid}, {uid}) ({gid}, {gid}, {gid}) [{gid}]", done.stderr


def test_one_whom_nobody_waits_for_says_how_it_went_all_the_same():
    done = in_child("stay().failed(StartError('no')); print(os.getcwd())")
    assert done.stdout == "/\n", done.stderr
