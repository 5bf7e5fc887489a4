"""What a daemon does to itself: leave the terminal, give up rights.

    magent ──fork──▶ leader of a new session ──fork──▶ the daemon ──"ready", or why not──▶ magent

Each step either works or is a StartError in one line.
"""

import contextlib
import grp
import json
import os
import pwd
from dataclasses import dataclass

from memagent.errors import StartError


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom to run as: what remains of -u and -g once they have been looked up."""

    uid: int
    gid: int
    user: str | None


def find_identity(user: str | None, group: str | None) -> Identity | None:
    """None if nothing has to change. StartError for unknown names and rights that we do not have."""
    if user is None and group is None:
        return None
    account = _account(user) if user is not None else None
    uid = account.pw_uid if account is not None else os.getuid()
    own_gid = account.pw_gid if account is not None else os.getgid()
    gid = _group_id(group) if group is not None else own_gid
    if (uid, gid) == (os.getuid(), os.getgid()):
        return None
    if os.geteuid() != 0:
        what = f"user {user}" if uid != os.getuid() else f"group {group or gid}"
        raise StartError(f"{what}: only root may run as somebody else", "start it as root, or leave this out")
    return Identity(uid, gid, account.pw_name if account is not None else None)


def become(identity: Identity) -> None:
    """For good: there is no way back to the rights that we had."""
    try:
        if identity.user is not None:
            os.initgroups(identity.user, identity.gid)
        else:
            os.setgroups([identity.gid])
        os.setgid(identity.gid)
        os.setuid(identity.uid)
    except OSError as error:
        raise StartError(
            f"cannot run as user {identity.uid}, group {identity.gid}: {error.strerror}"
        ) from None


class StartingProcess:
    """The process that the user started: it waits for the daemon's word."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def wait(self) -> None:
        """Returns once the daemon is ready; StartError with the daemon's words if it could not start."""
        with open(self._fd, "rb") as pipe:
            word = pipe.read()
        if word == b"ready":
            return
        with contextlib.suppress(ValueError):
            told = json.loads(word)
            raise StartError(told["message"], told["hint"])
        raise StartError("the process in the background ended before it was ready")


class Daemon:
    """The process in the background: it says how its start went."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def ready(self, log_fd: int | None) -> None:
        """Let the starting process go, and keep nothing of its terminal open."""
        quiet = os.open(os.devnull, os.O_RDWR)
        os.dup2(quiet, 0)
        for fd in (1, 2):
            os.dup2(quiet if log_fd is None else log_fd, fd)
        os.close(quiet)
        self._say(b"ready")

    def failed(self, error: StartError) -> None:
        self._say(json.dumps({"message": error.message, "hint": error.hint}).encode())

    def _say(self, word: bytes) -> None:
        # Whoever started us may be gone.
        with contextlib.suppress(OSError):
            os.write(self._fd, word)
        os.close(self._fd)


def detach() -> StartingProcess | Daemon:
    """Continue in the background as well: two processes return from this, each with its own object."""
    ours, theirs = os.pipe()
    middle = os.fork()
    if middle != 0:
        os.close(theirs)
        os.waitpid(middle, 0)
        return StartingProcess(ours)
    os.close(ours)
    os.setsid()
    if os.fork() != 0:
        # Not a session leader any more, the daemon can never get a terminal by opening one.
        os._exit(0)
    os.chdir("/")
    return Daemon(theirs)


def stay() -> Daemon:
    """For a process that one in the background has started: there is no terminal to leave, nobody waits."""
    os.chdir("/")
    return Daemon(os.open(os.devnull, os.O_WRONLY))


def _account(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(int(user)) if user.isascii() and user.isdigit() else pwd.getpwnam(user)
    except (KeyError, OverflowError):
        raise StartError(
            f"user {user}: no such user on this machine", "give the name of an existing user"
        ) from None


def _group_id(group: str) -> int:
    try:
        found = grp.getgrgid(int(group)) if group.isascii() and group.isdigit() else grp.getgrnam(group)
    except (KeyError, OverflowError):
        raise StartError(
            f"group {group}: no such group on this machine", "give the name of an existing group"
        ) from None
    return found.gr_gid
