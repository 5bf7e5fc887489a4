"""Three memcached servers, two backups, the proxy on 127.0.0.1:12000 and its page, until Ctrl-C."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from demo_traffic import Traffic

PROXY_PORT = 12000
PAGE_PORT = 12080
OPERATOR_TOKEN = "demo"  # noqa: S105 - it is printed, and guards nothing
SERVER_PORTS = {"a": 12001, "b": 12002, "c": 12003}
BACKUP_PORTS = {"x": 12011, "y": 12012}
ROOT = Path(__file__).resolve().parent.parent
READY_S = 15.0
STOP_S = 15.0


class Stopped(Exception):  # noqa: N818 - it is a wish, not an error
    """Somebody asked for the end."""


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _ask_to_stop)
    if busy := ", ".join(str(port) for port in _all_ports() if _in_use(port)):
        return _complain(f"port {busy} of 127.0.0.1 is in use; end what listens there and try again")
    memcached = shutil.which("memcached", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/bin")
    if memcached is None:
        return _complain("memcached is not installed; run scripts/system-packages")
    folder = Path(tempfile.mkdtemp(prefix="memagent-demo-"))
    started: list[subprocess.Popen[bytes]] = []
    try:
        return _run(memcached, folder, started)
    except Stopped:
        return 0
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        _stop(started)
        shutil.rmtree(folder, ignore_errors=True)
        print("Everything is stopped.")


def _run(memcached: str, folder: Path, started: list[subprocess.Popen[bytes]]) -> int:
    config = folder / "magent.yaml"
    config.write_text(_config())
    memcacheds: dict[subprocess.Popen[bytes], str] = {}
    # memcached refuses to run as root.
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    for name, port in {**SERVER_PORTS, **BACKUP_PORTS}.items():
        command = [memcached, *user, "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-m", "64"]
        memcacheds[_start(command, started)] = f"{name} (127.0.0.1:{port})"
    proxy = _start([sys.executable, "-m", "memagent", "run", "-c", str(config)], started)
    deadline = time.monotonic() + READY_S
    for port in (*SERVER_PORTS.values(), *BACKUP_PORTS.values(), PROXY_PORT):
        while not _answers(port):
            ended = next((process for process in started if process.poll() is not None), None)
            if ended is not None or time.monotonic() > deadline:
                what = f"ended with {ended.returncode}" if ended else f"does not answer within {READY_S:g} s"
                return _complain(f"what should listen on 127.0.0.1:{port} {what}")
            time.sleep(0.02)
    Traffic(PROXY_PORT)
    print(_what_next(config, memcacheds), flush=True)
    while proxy.poll() is None:
        for process in [each for each in memcacheds if each.poll() is not None]:
            print(f"Server {memcacheds.pop(process)} has ended; get and set go on.", flush=True)
        time.sleep(0.1)
    return _complain(f"the proxy ended with {proxy.returncode}")


def _complain(what: str) -> int:
    print(f"make run: {what}", file=sys.stderr)
    return 1


def _config() -> str:
    lines = [f'listen: ["127.0.0.1:{PROXY_PORT}"]', f"admin_listen: 127.0.0.1:{PAGE_PORT}"]
    lines += [f"admin_operator_token: {OPERATOR_TOKEN}", "slow_ms: 5", "pools:", "  main:"]
    for role, ports in ("servers", SERVER_PORTS), ("backups", BACKUP_PORTS):
        lines.append(f"    {role}:")
        lines += [f'      - {{address: "127.0.0.1:{port}", name: {name}}}' for name, port in ports.items()]
    return "\n".join(lines) + "\n"


def _what_next(config: Path, memcacheds: dict[subprocess.Popen[bytes], str]) -> str:
    magent = os.path.relpath(Path(sys.executable).with_name("magent"))
    processes = "\n".join(f"    {name:<22} pid {process.pid}" for process, name in memcacheds.items())
    return f"""
The proxy is on 127.0.0.1:{PROXY_PORT}, before these servers (a, b, c) and backups (x, y):
{processes}

Some data is there, and a trickle of requests. The page is at http://127.0.0.1:{PAGE_PORT}/ and shows it live:
end a server and watch. To act, log in there with the token {OPERATOR_TOKEN}.

Now, in another terminal:
    telnet 127.0.0.1 {PROXY_PORT}          then type  set hello 0 0 5  Enter  world  Enter  get hello  Enter
    printf 'set hello 0 0 5\\r\\nworld\\r\\nget hello\\r\\nquit\\r\\n' | nc 127.0.0.1 {PROXY_PORT}
    {magent} route -c {config} hello
Ctrl-C here stops everything.
"""


def _start(command: list[str], started: list[subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """In a session of its own, so that Ctrl-C reaches this script alone and it can end things in order."""
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, start_new_session=True, env={**os.environ, "PYTHONPATH": path}
    )
    started.append(process)
    return process


def _stop(started: list[subprocess.Popen[bytes]]) -> None:
    """The proxy first, so that it drains into servers that are still there; who is too slow is killed."""
    for process in reversed(started):
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(b"version\r\n")
            return connection.recv(64).startswith(b"VERSION")
    except OSError:
        return False


def _in_use(port: int) -> bool:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _all_ports() -> list[int]:
    return [PROXY_PORT, PAGE_PORT, *SERVER_PORTS.values(), *BACKUP_PORTS.values()]


def _ask_to_stop(_number: int, _frame: object) -> None:
    raise Stopped


if __name__ == "__main__":
    sys.exit(main())
