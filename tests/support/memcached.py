"""Real memcached servers, of the machine's own version and of a newer one."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from . import processes
from .ports import free_port
from .processes import ROOT, Process
from .wait import wait_until
from .wire import Address, Wire

Version = Literal["old", "new"]
"""old: the machine's own, whatever it is (1.6.18 on Debian 12).
new: 1.6.27 or later, with mgdump, E and the built-in proxy."""


@cache
def binary(version: Version = "old") -> str:
    """The program. Where it is not to be had that is an error: no test passes by silence."""
    if version == "new":
        made = subprocess.run(
            [ROOT / "scripts" / "memcached-1.6.38"], capture_output=True, text=True, timeout=300
        )
        if made.returncode != 0:
            raise RuntimeError(
                f"this test needs a newer memcached, which cannot be had here: {made.stderr.strip()}"
            )
        return made.stdout.strip()
    found = shutil.which("memcached", path=os.environ.get("PATH", "") + ":/usr/bin:/usr/sbin:/usr/local/bin")
    if found is None:
        raise RuntimeError("this test needs memcached: run scripts/system-packages")
    return found


class Memcached:
    """One server on 127.0.0.1 (or on a Unix socket). `Memcached.start()` gives a running one that answers."""

    def __init__(
        self,
        version: Version = "old",
        port: int | None = None,
        args: Sequence[str] = (),
        unix: str | bool | None = None,
    ) -> None:
        self._any_port = port is None
        self._args = list(args)
        self._process: Process | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="memagent-mc-"))
        # memcached makes its Unix socket after it has become another user.
        self._folder.chmod(0o777)
        self.version: Version = version
        self.port = free_port() if port is None else port
        self.unix: str | None = str(self._folder / "memcached.sock") if unix is True else (unix or None)

    @classmethod
    def start(
        cls,
        version: Version = "old",
        port: int | None = None,
        args: Sequence[str] = (),
        unix: str | bool | None = None,
    ) -> "Memcached":
        """`unix`: a path, or True for a socket in a folder of its own; then there is no TCP port."""
        server = cls(version, port, args, unix)
        try:
            server.restart()
        except BaseException:
            server.kill()
            server._remove()
            raise
        return server

    @property
    def address(self) -> str:
        """As it stands in a configuration file: `127.0.0.1:PORT` or `unix:/path`."""
        return f"unix:{self.unix}" if self.unix else f"127.0.0.1:{self.port}"

    @property
    def endpoint(self) -> Address:
        """As `Wire` takes it."""
        return self.unix if self.unix else ("127.0.0.1", self.port)

    @property
    def pid(self) -> int:
        assert self._process is not None, "it was never started"
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.alive

    def restart(self) -> None:
        """Start it, or end it and start it again, empty, at the same address; returns when it answers."""
        if self._process is not None:
            self.kill()
        for attempt in range(5):
            self._process = Process(self._command(), self._folder / "log")
            wait_until(lambda: self._answers() or not self.alive, what=self._process.describe)
            if self.alive:
                return
            if not (self._any_port and "ddress already in use" in self._process.output() and attempt < 4):
                break
            # Somebody else took the port after it had been found free.
            self.port = free_port()
        assert self._process is not None
        raise RuntimeError(f"memcached did not start: {self._process.describe()}")

    def stop(self) -> None:
        """SIGTERM, and everything that it left is removed."""
        if self.alive:
            assert self._process is not None
            self._process.terminate()
        self._remove()

    def kill(self) -> None:
        """SIGKILL: the kernel ends its connections and refuses new ones. `restart` brings it back empty."""
        if self._process is not None:
            self._process.kill()

    def pause(self) -> None:
        """SIGSTOP: it is silent, yet the kernel goes on accepting connections for it."""
        os.kill(self.pid, signal.SIGSTOP)
        wait_until(lambda: processes.state(self.pid) == "T", what=f"pid {self.pid} to stop")

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def connect(self, deadline_s: float = 5.0) -> Wire:
        return Wire(self.endpoint, deadline_s)

    def stats(self, what: str = "") -> dict[str, str]:
        with self.connect() as wire:
            return wire.stats(what)

    def get(self, key: bytes) -> bytes | None:
        """The value that this server itself holds, None where it has none."""
        with self.connect() as wire:
            line = wire.ask(b"get " + key + b"\r\n")
            if line == b"END\r\n":
                return None
            value = wire.read_exact(int(line.split()[3]))
            wire.read_until(b"END\r\n")
            return value

    def set(self, key: bytes, value: bytes, flags: int = 0, exptime: int = 0) -> None:
        """Store behind the proxy's back."""
        with self.connect() as wire:
            reply = wire.ask(b"set %b %d %d %d\r\n%b\r\n" % (key, flags, exptime, len(value), value))
            assert reply == b"STORED\r\n", reply

    def _command(self) -> list[str]:
        where = ["-s", self.unix, "-a", "0777"] if self.unix else ["-l", "127.0.0.1", "-p", str(self.port)]
        # memcached refuses to run as root.
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        return [binary(self.version), *where, *user, "-U", "0", "-m", "64", "-t", "2", *self._args]

    def _answers(self) -> bool:
        try:
            with self.connect(deadline_s=1.0) as wire:
                # By pid, lest another process on the same port be taken for it.
                return wire.stats().get("pid") == str(self.pid)
        except OSError:
            return False

    def _remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
