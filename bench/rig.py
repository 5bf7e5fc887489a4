"""The parts of a benchmark as real processes, all on 127.0.0.1, all ended with the rig.

core 0: load generator, memcached x 3 (and 2 backups)          core 1: the proxy under test, alone
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from bench import cpu

ROOT = Path(__file__).resolve().parent.parent
START_S = 10.0
STARTED_S = 0.01  # of processor time: less than any Python program takes until it does something
IDLE_S = 0.02  # of processor time, in a fifth of a second
LOAD_CORE = 0
PROXY_CORE = 1
BOTH_CORES = f"{LOAD_CORE},{PROXY_CORE}"
SERVERS = 3
BACKUPS = 2


class MissingError(Exception):
    """A program that the comparison needs is not on this machine."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Rig:
    """Starts what is asked for, once, and ends all of it. `memcached` is the program that servers run."""

    def __init__(self, memcached: str | None = None) -> None:
        self._program = memcached or program("memcached")
        self._stack = ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="memagent-bench-")))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ports: dict[str, int] = {}
        self._servers: list[str] = []
        self._backups: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def servers(self) -> list[str]:
        """Addresses of the servers that proxies share keys among."""
        if not self._servers:
            self._servers = [self.server(f"server{i}") for i in range(SERVERS)]
        return self._servers

    @property
    def backups(self) -> list[str]:
        if not self._backups:
            self._backups = [self.server(f"backup{i}") for i in range(BACKUPS)]
        return self._backups

    def server(self, name: str, port: int | None = None) -> str:
        """Starts a memcached, which is empty; its address."""
        self._memcached(name, LOAD_CORE, self._program, port=port)
        return f"127.0.0.1:{self.ports[name]}"

    def target(self, name: str) -> str:
        """The address of a target, started if it is not running yet."""
        if name not in self.ports:
            getattr(self, "_start_" + name.replace("-", "_"))()
        return f"127.0.0.1:{self.ports[name]}"

    def pid(self, name: str) -> int:
        process = self.processes[name]
        if process.poll() is not None:
            raise RuntimeError(
                f"{name} has ended with code {process.returncode}; its output:\n{self.log(name)}"
            )
        return process.pid

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-2000:]

    def stop(self, name: str) -> None:
        process = self.processes.pop(name, None)
        self.ports.pop(name, None)
        if process is not None:
            _end(process)

    def busy_loop(self) -> None:
        self._spawn("busy", PROXY_CORE, [sys.executable, "-c", "while True: pass"])

    def _start_direct(self) -> None:
        self._memcached("direct", PROXY_CORE, program("memcached"))

    def _start_twemproxy(self) -> None:
        port = free_port()
        lines = [
            "bench:",
            f"  listen: 127.0.0.1:{port}",
            "  hash: fnv1a_64",
            "  distribution: ketama",
            "  preconnect: true",
            "  auto_eject_hosts: false",
            "  server_connections: 1",
            "  servers:",
            *(f"   - {server}:1" for server in self.servers),
        ]
        config = self._write("twemproxy.yml", "\n".join(lines) + "\n")
        stats = str(free_port())
        command = [program("nutcracker"), "-c", config, "-s", stats, "-a", "127.0.0.1", "-v", "2"]
        self._spawn("twemproxy", PROXY_CORE, command, port)

    def _start_mcproxy(self) -> None:
        self._mcproxy("mcproxy", {"main": self.servers}, 'default = route_direct{ child = "main" }')

    def _start_mcproxy_copies(self) -> None:
        # the nearest to copies that it has: a get that misses or fails goes to the backup, all else to both
        both = 'children = { "main", "backup" }'
        get = f"cmap = {{ get = route_failover{{ {both}, miss = true }} }}"
        self._mcproxy(
            "mcproxy-copies",
            {"main": self.servers, "backup": self.backups},
            f"{get}, default = route_allfastest{{ {both} }}",
        )

    def _mcproxy(self, name: str, pools: dict[str, list[str]], routes: str) -> None:
        # a list of strings in JSON is one in Lua, but for its brackets
        lines = [f"{pool} = {{ backends = {{ {json.dumps(pools[pool])[1:-1]} }} }}" for pool in pools]
        config = self._write(f"{name}.lua", f"pools{{ {', '.join(lines)} }}\nroutes{{ {routes} }}\n")
        self._memcached(name, PROXY_CORE, new_memcached(), "-o", f"proxy_config=routelib,proxy_arg={config}")

    def _start_memagent(self) -> None:
        self.memagent("memagent")

    def _start_memagent_bare(self) -> None:
        self.memagent("memagent-bare", root={"latency_metrics": False, "hot_keys": False, "slow_ms": 0})

    def _start_memagent_cold(self) -> None:
        self.memagent("memagent-cold", root={"hot_keys": False, "slow_ms": 0})

    def _start_memagent_scraped(self) -> None:
        self.memagent("memagent-scraped")

    def _start_memagent_tapped(self) -> None:
        self.memagent("memagent-tapped")

    def _start_memagent_copies(self) -> None:
        self.memagent("memagent-copies", backups=self.backups, fallback="always")

    def _start_memagent_1w(self) -> None:
        self.memagent("memagent-1w", BOTH_CORES)

    def _start_memagent_2w(self) -> None:
        self.memagent("memagent-2w", BOTH_CORES, workers=2)

    def memagent(
        self,
        name: str,
        cores: str = str(PROXY_CORE),
        workers: int = 1,
        root: Mapping[str, object] | None = None,
        **pool: object,
    ) -> str:
        """Starts a proxy whose pool, or `root` of the file, differs from the default in this; its address."""
        port = free_port()
        settings = {
            "listen": [f"127.0.0.1:{port}"],
            "workers": workers,
            "max_connections": 15_000,
            "control_socket": self.control_socket(name),
            "pools": {"main": {"servers": self.servers, **pool}},
            **(root or {}),
        }
        config = self._write(f"{name}.yaml", json.dumps(settings, indent=1))
        self._spawn(name, cores, [sys.executable, "-m", "memagent", "run", "-c", config], port)
        return f"127.0.0.1:{port}"

    @contextmanager
    def scraped(self, name: str, every_s: float) -> Iterator[None]:
        """A memagent whose metrics are asked for every so often."""
        with self._beside("scraper", "bench.scraper", self.control_socket(name), str(every_s)):
            yield

    @contextmanager
    def tapped(self, name: str) -> Iterator[None]:
        """A memagent whose live requests somebody looks at."""
        with self._beside("tap", "memagent", "tap", "--socket", self.control_socket(name)):
            yield

    @contextmanager
    def _beside(self, name: str, *module: str) -> Iterator[None]:
        # Whoever looks is on another machine, as a rule: the load shall not wait for him, nor for his start.
        self._spawn(name, LOAD_CORE, ["nice", "-n", "19", sys.executable, "-m", *module])
        try:
            self._until_idle(name)
            yield
            self.pid(name)
        finally:
            self.stop(name)

    def _until_idle(self, name: str) -> None:
        """It has started: it does hardly anything any more."""
        deadline, before_s = time.monotonic() + START_S, -1.0
        while (now_s := cpu.of_process(self.pid(name)).total_s) - before_s > IDLE_S or before_s < STARTED_S:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{name} does not come to rest: {self.log(name)}")
            before_s = now_s
            time.sleep(0.2)

    def control_socket(self, name: str) -> str:
        return str(self.folder / f"{name}.sock")

    def _memcached(self, name: str, core: int, memcached: str, *extra: str, port: int | None = None) -> None:
        port = port or free_port()
        user = ["-u", "root"] if os.getuid() == 0 else []
        command = [memcached, *user, "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-t", "1", "-m", "1024"]
        self._spawn(name, core, [*command, "-c", "20000", *extra], port)

    def _write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def _spawn(self, name: str, cores: int | str, command: list[str], port: int | None = None) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
        with (self.folder / f"{name}.log").open("wb") as log:
            # taskset execs the program, so the process that was started is the program itself
            process = subprocess.Popen(
                ["taskset", "-c", str(cores), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        self.processes[name] = process
        self._stack.callback(_end, process)
        if port is not None:
            self._await(name, process, port)
            self.ports[name] = port

    def _await(self, name: str, process: subprocess.Popen[bytes], port: int) -> None:
        deadline = time.monotonic() + START_S
        while process.poll() is None and time.monotonic() < deadline:
            if _answers(port):
                return
            time.sleep(0.02)
        raise RuntimeError(f"{name} does not answer on port {port}; its output:\n{self.log(name)}")


def program(name: str) -> str:
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/bin:/usr/sbin:/usr/local/bin")
    if found is None:
        raise MissingError(f"{name} is not installed: apt-get install {name}")
    return found


def new_memcached() -> str:
    """A memcached with a proxy of its own."""
    done = subprocess.run(
        [str(ROOT / "scripts" / "memcached-1.6.38")], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise MissingError(done.stderr.strip())
    return done.stdout.strip()


def _answers(port: int) -> bool:
    # A get goes through to a server: a proxy that answers it has its connections up.
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as client:
            client.sendall(b"get bench-ready\r\n")
            return client.recv(100) == b"END\r\n"
    except OSError:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
