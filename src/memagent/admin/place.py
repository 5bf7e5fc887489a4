"""Where the control socket is when no `control_socket` says so: one answer for the proxy and who seeks it.

    $RUNTIME_DIRECTORY (systemd) ─▶ $XDG_RUNTIME_DIR ─▶ $TMPDIR/memagent-UID    the first there that is ours
                          └─▶ memagent-PORT.sock, PORT of the first address that is listened on

- A directory that others may write to is taken by nobody: they could put a socket of theirs there.
- $TMPDIR is /tmp if it is not given. The proxy makes its directory there if need be (0700); who seeks a
  proxy makes nothing.
"""

import os
import stat
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

# What systemd makes of RuntimeDirectory=memagent; a shell does not have the variable that names it.
_SERVICE_DIRECTORY: Final = "/run/memagent"
_TEMPORARY: Final = "/tmp"  # noqa: S108
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def file_name(listen: str) -> str:
    """`listen` is the first address as it is shown: host:port, or unix:/path."""
    if listen.startswith("unix:"):
        return f"memagent-{zlib.crc32(listen.encode()):08x}.sock"
    return f"memagent-{listen.rpartition(':')[2]}.sock"


def directory_of_proxy(environ: Mapping[str, str], uid: int) -> str:
    """Where this process puts its socket. OSError or ValueError, in words, if there is no safe place."""
    for directory in _given(environ):
        if _is_safe(directory, uid) and os.access(directory, os.W_OK | os.X_OK):
            return directory
    own = _own_directory(environ, uid)
    try:
        os.mkdir(own, 0o700)
    except FileExistsError:
        if not _is_safe(own, uid):
            raise ValueError(f"{own} is not a directory that only uid {uid} may write to") from None
    return own


def candidates(listen: str, environ: Mapping[str, str], uids: Sequence[int]) -> list[str]:
    """Where the socket of a proxy may be that runs as root or one of `uids`, the likeliest first."""
    directories = [*_given(environ), _SERVICE_DIRECTORY]
    for uid in uids:
        directories += [f"/run/user/{uid}", _own_directory(environ, uid)]
    # Only root makes a directory in /run: whose it is there, a user made for the service, need not be known.
    owners = (*uids, *_owner(_SERVICE_DIRECTORY))
    trusted = [
        each
        for each in dict.fromkeys(directories)
        if any(_is_safe(each, uid) for uid in (owners if each == _SERVICE_DIRECTORY else uids))
    ]
    return [str(Path(each, file_name(listen))) for each in trusted]


def _given(environ: Mapping[str, str]) -> list[str]:
    # systemd separates several by colons
    services = environ.get("RUNTIME_DIRECTORY", "").split(":")
    return [each for each in (services[0], environ.get("XDG_RUNTIME_DIR", "")) if each.startswith("/")]


def _own_directory(environ: Mapping[str, str], uid: int) -> str:
    # Not tempfile's: that tries others, the working directory at last, and who seeks us has another one.
    given = environ.get("TMPDIR", "")
    return str(Path(given if given.startswith("/") else _TEMPORARY, f"memagent-{uid}"))


def _owner(directory: str) -> tuple[int, ...]:
    try:
        return (os.lstat(directory).st_uid,)
    except OSError:
        return ()


def _is_safe(directory: str, uid: int) -> bool:
    """A directory, no link to one, that nobody writes to but its owner: root, or us."""
    try:
        found = os.lstat(directory)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid in (0, uid) and not found.st_mode & _OTHERS_WRITE
