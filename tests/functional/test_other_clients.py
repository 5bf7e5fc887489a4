"""Clients of other languages, unchanged, through the proxy: issue 2's purpose.

Each script in clients/ stores, reads, counts and deletes with one library as its users would, and fails at
the first thing that is not as its documentation says. They run against memcached itself as well: a check that
fails there too says nothing about the proxy.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.functional.tools import Shop
from tests.support.memcached import Memcached
from tests.support.processes import ROOT

CLIENTS = ROOT / "tests" / "functional" / "clients"
SCRIPTS = {
    "php-memcached": ("php", "memcached.php"),
    "Cache::Memcached::Fast": ("perl", "fast.pl"),
    # the system's Python: there are wheels of pylibmc for one version of Python only
    "pylibmc": ("/usr/bin/python3", "with_pylibmc.py"),
}


def run(*command: str | Path, given: str = "", expect: int = 0, cwd: Path | None = None) -> str:
    program = str(command[0])
    assert shutil.which(program), f"this test needs {program}: run scripts/system-packages test"
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}
    done = subprocess.run(
        list(map(str, command)), input=given, capture_output=True, text=True, timeout=30, env=env, cwd=cwd
    )
    assert done.returncode == expect, f"{command} ended with {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_library(name: str, shop: Shop, direct: Memcached) -> None:
    program, script = SCRIPTS[name]
    alone = run(program, CLIENTS / script, "127.0.0.1", str(direct.port))
    assert run(program, CLIENTS / script, "127.0.0.1", str(shop.proxy.port)) == alone
    assert alone


class TestLibmemcachedTools:
    """The C library as its own commands use it."""

    @pytest.fixture
    def where(self, shop: Shop) -> str:
        return f"--servers=127.0.0.1:{shop.proxy.port}"

    def test_files_in_and_out(self, where: str, tmp_path: Path) -> None:
        files = {f"tool-{number}": f"text {number}\r\n" * (number * 2000 + 1) for number in range(8)}
        for name, text in files.items():
            (tmp_path / name).write_bytes(text.encode())
        run("memccp", where, *files, cwd=tmp_path)
        for name, text in files.items():
            run("memccat", where, f"--file={tmp_path / 'back'}", name)
            assert (tmp_path / "back").read_bytes() == text.encode()
        run("memcexist", where, *files)
        run("memctouch", where, "--expire=1000", "tool-0")
        run("memcrm", where, *files)
        run("memcexist", where, "tool-0", expect=1)

    def test_the_servers_own(self, where: str, shop: Shop) -> None:
        run("memcping", where)
        assert "threads" in run("memcstat", where)
        with shop.proxy.connect() as wire:
            wire.expect(b"set tool-x 0 0 1\r\nx\r\n", b"STORED\r\n")
            run("memcflush", where)
            wire.expect(b"get tool-x\r\n", b"END\r\n")
