"""contrib/systemd's units under a real systemd, in namespaces of their own.

Needs root, systemd, memcached, and memagent in /opt/memagent as docs/guides/running.md installs it. Each line
says what was tried and what came of it; the code is 1 where one of them was not as the guide promises.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

UNITS = Path(__file__).resolve().parent.parent / "contrib" / "systemd"
MAGENT = "/opt/memagent/bin/magent"
PORT = 11211
DEADLINE_S = 60.0
CONFIG = """
listen: ["127.0.0.1:11211"]
workers: 2
drain_ms: 2000
pools:
  main:
    servers: [{servers}]
"""


class Machine:
    """A systemd of its own: its processes, /run, /tmp and /etc/memagent are seen by nobody else."""

    def __init__(self, folder: Path, servers: list[int]) -> None:
        self.folder = folder
        self.servers = servers
        units = folder / "units"
        units.mkdir()
        for unit in UNITS.iterdir():
            shutil.copy(unit, units)
        (units / "quiet.target").write_text("[Unit]\nDefaultDependencies=no\n")
        # They are named by the units, and are not needed here.
        (folder / "etc").mkdir()
        inside = f"""
            mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /tmp &&
            mkdir -p /etc/memagent && mount --bind {folder}/etc /etc/memagent &&
            export container=other SYSTEMD_UNIT_PATH={units}: &&
            exec /lib/systemd/systemd --system --unit=quiet.target --log-target=console --show-status=0
        """
        self.log = (folder / "systemd.log").open("w")
        self.unshare = subprocess.Popen(
            ["unshare", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc", "bash", "-c", inside],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )
        children = Path(f"/proc/{self.unshare.pid}/task/{self.unshare.pid}/children")
        wait(lambda: bool(children.read_text().split()), "systemd")
        self.pid = children.read_text().split()[0]
        wait(lambda: self.systemctl("show", "-P", "Version")[0] == 0, "systemd's answer")

    def run(self, *command: str) -> tuple[int, str]:
        done = subprocess.run(
            ["nsenter", "-t", self.pid, "-m", "-p", *command],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
        return done.returncode, done.stdout + done.stderr

    def systemctl(self, *words: str) -> tuple[int, str]:
        return self.run("systemctl", *words)

    def show(self, what: str) -> str:
        return self.systemctl("show", "-P", what, "memagent.service")[1].strip()

    def configure(self, text: str | None = None) -> None:
        servers = ", ".join(f'"127.0.0.1:{port}"' for port in self.servers)
        (self.folder / "etc" / "magent.yaml").write_text(text or CONFIG.format(servers=servers))

    def end(self) -> None:
        self.unshare.kill()
        self.unshare.wait()
        self.log.close()


class Clients(threading.Thread):
    """Connect, ask once, leave, all the time: how many were served, and what the others saw."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.served = 0
        self.failed: list[str] = []
        self.is_over = False
        self.start()

    def run(self) -> None:
        while not self.is_over:
            try:
                if ask(b"get k\r\n").endswith(b"END\r\n"):
                    self.served += 1
                else:
                    self.failed.append("cut off")
            except OSError as error:
                self.failed.append(repr(error))
            time.sleep(0.002)

    def stop(self) -> str:
        self.is_over = True
        self.join()
        return f"{self.served} connections served, {len(self.failed)} not {sorted(set(self.failed))}"


def ask(request: bytes) -> bytes:
    """The reply, as far as it comes with one end of a line or more."""
    with socket.create_connection(("127.0.0.1", PORT), DEADLINE_S) as wire:
        wire.sendall(request)
        reply = b""
        while not reply.endswith(b"\r\n") and (more := wire.recv(65536)):
            reply += more
        return reply


def wait(is_so: Callable[[], bool], what: str, for_s: float = DEADLINE_S) -> None:
    end_s = time.monotonic() + for_s
    while not is_so():
        if time.monotonic() > end_s:
            raise TimeoutError(f"{what} did not come in {for_s:g} s")
        time.sleep(0.05)


def checks(machine: Machine) -> list[tuple[str, bool, str]]:
    found: list[tuple[str, bool, str]] = []

    def note(what: str, is_right: bool, said: str) -> None:
        found.append((what, is_right, said))
        print(f"{'ok ' if is_right else 'BAD'} {what}: {' '.join(said.split())[:300]}", flush=True)

    machine.configure()
    code, said = machine.systemctl("start", "memagent")
    note("start returns when it serves", code == 0 and ask(b"set k 0 0 1\r\nv\r\n") == b"STORED\r\n", said)
    note("its status says how many serve", "server" in machine.show("StatusText"), machine.show("StatusText"))
    code, said = machine.run(MAGENT, "servers", "--json")
    note("root's magent servers finds it", code == 0 and len(json.loads(said)) >= 1, said)
    first = machine.show("MainPID")

    clients = Clients()
    machine.configure(
        CONFIG.format(servers=f'"127.0.0.1:{machine.servers[0]}"').replace("workers: 2", "workers: 3")
    )
    code, said = machine.systemctl("reload", "memagent")
    note("reload", code == 0 and machine.show("ActiveState") == "active", said or "every worker has it")
    machine.configure("pools: nonsense")
    code, said = machine.systemctl("reload", "memagent")
    note("a reload with a mistake fails", code != 0 and machine.show("ActiveState") == "active", said)
    machine.configure()
    machine.systemctl("reload", "memagent")
    code, said = machine.run(MAGENT, "upgrade", "-c", "/etc/memagent/magent.yaml")
    wait(lambda: machine.show("MainPID") not in (first, "0"), "another main process")
    text = clients.stop()
    note("upgrade, and systemd follows", code == 0 and not clients.failed, f"{said} {text}")
    wait(lambda: machine.show("ActiveState") == "active", "it to be active")

    main = machine.show("MainPID")
    machine.run("kill", "-KILL", main)
    wait(lambda: machine.show("MainPID") not in (main, "0"), "a new start")
    wait(lambda: machine.show("ActiveState") == "active", "it to be active")
    note(
        "killed, it is started anew",
        machine.show("NRestarts") == "1",
        f"NRestarts {machine.show('NRestarts')}",
    )

    main = machine.show("MainPID")
    machine.run("kill", "-STOP", main)
    wait(
        lambda: machine.show("NRestarts") == "2" and machine.show("ActiveState") == "active",
        "the watchdog",
        90,
    )
    note(
        "frozen, the watchdog ends it and it is started anew",
        ask(b"version\r\n")[:7] == b"VERSION",
        "NRestarts 2",
    )

    code, said = machine.systemctl("stop", "memagent")
    note("stop", code == 0 and machine.show("Result") == "success", f"{said} {machine.show('Result')}")

    code, said = machine.systemctl("start", "memagent.socket")
    ready = ask(b"version\r\n")
    note("a first client starts it at its socket", ready[:7] == b"VERSION", said)
    wait(lambda: machine.show("ActiveState") == "active", "it to be active")
    clients = Clients()
    wait(lambda: clients.served > 100, "clients")
    code, said = machine.systemctl("restart", "memagent")
    served = clients.served
    wait(lambda: clients.served > served + 100, "clients after the restart")
    text = clients.stop()
    refused = [each for each in clients.failed if "Refused" in each]
    note("restarted behind its socket, nobody is refused", code == 0 and not refused, text)
    machine.systemctl("stop", "memagent.socket", "memagent")

    machine.configure("pools: nonsense")
    code, said = machine.systemctl("start", "memagent")
    wait(lambda: machine.show("ActiveState") == "failed", "the failure")
    note("a mistake is not tried again", code != 0 and machine.show("ExecMainStatus") == "2", said)
    return found


def main() -> int:
    if os.geteuid() != 0 or not Path(MAGENT).exists():
        print(__doc__.split("\n\n")[1], file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        servers = []
        for _ in range(2):
            with socket.create_server(("127.0.0.1", 0)) as free:
                servers.append(free.getsockname()[1])
        running = [
            subprocess.Popen(["memcached", "-u", "nobody", "-l", "127.0.0.1", "-p", str(port)])
            for port in servers
        ]
        machine = Machine(folder, servers)
        try:
            return 0 if all(is_right for _, is_right, _ in checks(machine)) else 1
        except TimeoutError as error:
            print(f"BAD {error}\n{machine.systemctl('status', 'memagent')[1]}")
            return 1
        finally:
            machine.end()
            for each in running:
                each.kill()
                each.wait()
            log = (folder / "systemd.log").read_text()
            (Path(os.environ.get("SYSTEMD_LOG") or os.devnull)).write_text(log)


if __name__ == "__main__":
    sys.exit(main())
