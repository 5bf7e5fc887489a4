"""The proxy as users run it: processes of its own, a configuration file or magent's flags."""

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from . import processes
from .ports import free_port
from .processes import ROOT, Process
from .wait import wait_until
from .wire import Address, Wire


class Proxy:
    """A running proxy. `pool` and `settings` go into the file as they are, over what `start` writes."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="memagent-proxy-"))
        self.folder.chmod(0o755)
        self.config = self.folder / "magent.yaml"
        self.port = 0
        self.unix: str | None = None
        self.command: list[str] = []
        self._workers = 1
        self._log_file: Path | None = None
        self._process: Process | None = None

    @classmethod
    def start(
        cls,
        servers: Sequence[Any] = (),
        backups: Sequence[Any] = (),
        *,
        workers: int = 1,
        pool: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        unix: str | None = None,
        port: int | None = None,
        wait: bool = True,
    ) -> "Proxy":
        """From a configuration file. Servers are `Memcached`s, addresses, or mappings as in the file."""
        proxy = cls()
        proxy.unix = unix
        proxy._workers = workers
        any_port = port is None
        proxy.port = 0 if unix else (free_port() if port is None else port)
        for attempt in range(5):
            proxy.write_config(servers, backups, pool=pool, settings=settings)
            proxy.command = [sys.executable, "-m", "memagent", "run", "-c", str(proxy.config)]
            try:
                proxy.restart(wait=wait)
            except RuntimeError:
                if not (any_port and "ddress already in use" in proxy.output() and attempt < 4):
                    proxy.clean_up()
                    raise
                proxy.port = free_port()
            else:
                break
        return proxy

    @classmethod
    def start_with_flags(
        cls, flags: Sequence[str], port: int = 0, unix: str | None = None, wait: bool = True
    ) -> "Proxy":
        """From magent's flags as given (`-D`: foreground); awaited at `port` or `unix`."""
        proxy = cls()
        proxy.port, proxy.unix = port, unix
        proxy.command = [sys.executable, "-m", "memagent", *flags]
        try:
            proxy.restart(wait=wait)
        except BaseException:
            proxy.clean_up()
            raise
        return proxy

    def write_config(
        self,
        servers: Sequence[Any],
        backups: Sequence[Any] = (),
        *,
        pool: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        main: dict[str, Any] = {"servers": [_as_written(server) for server in servers]}
        if backups:
            main["backups"] = [_as_written(server) for server in backups]
        whole: dict[str, Any] = {
            "listen": [f"unix:{self.unix}" if self.unix else f"127.0.0.1:{self.port}"],
            "workers": self._workers,
            "pools": {"main": {**main, **(pool or {})}},
        }
        whole.update(settings or {})
        self._log_file = Path(whole["log_file"]) if "log_file" in whole else None
        self.config.write_text(yaml.safe_dump(whole, sort_keys=False))

    def restart(self, wait: bool = True) -> None:
        """Start `command`, ending what ran before; returns when every worker is ready and it answers."""
        if self._process is not None and self._process.alive:
            self.stop()
        log = self.folder / "log"
        log.unlink(missing_ok=True)
        path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
        self._process = Process(self.command, log, env={"PYTHONPATH": path})
        if wait:
            self.wait_ready()

    def wait_ready(self, deadline_s: float = 20.0) -> None:
        process = self.process
        wait_until(lambda: self._answers() or not process.alive, deadline_s, process.describe)
        # One worker answers while others start: whoever ends one of those ends the start.
        wait_until(
            lambda: not process.alive or "memagent is ready" in self._log(),
            deadline_s,
            lambda: f"all workers of {process.describe()}",
        )
        if not process.alive:
            raise RuntimeError(f"the proxy ended with {process.exit_code}: {process.describe()}")

    @property
    def process(self) -> Process:
        assert self._process is not None, "it was never started"
        return self._process

    @property
    def pid(self) -> int:
        """The supervisor's."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.alive

    @property
    def endpoint(self) -> Address:
        return self.unix if self.unix else ("127.0.0.1", self.port)

    def worker_pids(self) -> list[int]:
        """Oldest first."""
        return [
            pid for pid in processes.children(self.pid) if "memagent.worker" in processes.command_line(pid)
        ]

    def open_files(self) -> list[int]:
        """How many each process has, the supervisor's first."""
        return [processes.open_files(pid) for pid in (self.pid, *self.worker_pids())]

    def has_no_more_files_than(self, before: Sequence[int]) -> bool:
        """Than each process had: a connection that is about to be closed may have been among them."""
        return all(now <= then for now, then in zip(self.open_files(), before, strict=True))

    def connect(self, deadline_s: float = 5.0, receive_buffer_bytes: int | None = None) -> Wire:
        return Wire(self.endpoint, deadline_s, receive_buffer_bytes)

    def stats(self, what: str = "") -> dict[str, str]:
        with self.connect() as wire:
            return wire.stats(what)

    def output(self) -> str:
        """Everything it has written to its log so far."""
        return self._process.output() if self._process is not None else ""

    def wait_for_log(self, text: str, deadline_s: float = 10.0) -> None:
        wait_until(
            lambda: text in self.output(),
            deadline_s,
            lambda: f"{text!r} in the log of {self.process.describe()}",
        )

    def reload(self) -> None:
        self.process.signal(signal.SIGHUP)

    def stop(self, deadline_s: float = 20.0) -> int:
        """SIGTERM; its exit code, once it and every worker have ended."""
        workers = self.worker_pids() if self.alive else []
        code = self.process.terminate(deadline_s)
        wait_until(
            lambda: not any(map(processes.exists, workers)),
            5,
            lambda: f"an end of workers {workers} of {self.process.describe()}",
        )
        return code

    def kill(self) -> None:
        """SIGKILL to the supervisor and all workers."""
        if self._process is not None:
            self._process.kill()

    def clean_up(self) -> None:
        """End whatever is left, remove every file."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _log(self) -> str:
        """Wherever it goes."""
        return self.output() if self._log_file is None else self._log_file.read_text()

    def _answers(self) -> bool:
        try:
            with self.connect(deadline_s=1.0) as wire:
                return wire.ask(b"version\r\n").startswith(b"VERSION ")
        except OSError:
            return False


def _as_written(server: Any) -> Any:
    return getattr(server, "address", server)
