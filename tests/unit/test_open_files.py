"""The limit of open files, and what it leaves room for."""

import os
import subprocess
import sys

import pytest

from memagent import open_files
from memagent.errors import StartError
from memagent.open_files import fit, needed
from memagent.settings import Config
from tests.support.processes import ROOT

CONFIG = Config.model_validate(
    {
        "listen": ["127.0.0.1:5", "127.0.0.1:6"],
        "workers": 3,
        "max_connections": 1000,
        "pools": [
            {
                "name": "main",
                "servers": ["a.test:1", "10.0.0.1:2", "unix:/run/m"],
                "backups": ["a.test:4"],
                "connections_per_server": 5,
            }
        ],
    }
)


def in_child(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"from memagent.open_files import _allow; {code}"],
        capture_output=True, text=True, check=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    return done.stdout


def test_the_limit_of_open_files_is_raised_as_far_as_it_goes():
    read = "print(found, *resource.getrlimit(resource.RLIMIT_NOFILE))"
    lower = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (50, 300));"
    assert in_child(f"{lower} found = _allow(200); {read}") == "200 200 300\n"
    assert in_child(f"{lower} found = _allow(40); {read}") == "50 50 300\n"
    # Past the hard limit: what root may do others may not.
    refuse = (
        "set = resource.setrlimit\n"
        "def only_down(what, limits):\n"
        "    if limits[1] > 300: raise ValueError\n"
        "    set(what, limits)\n"
        "resource.setrlimit = only_down\n"
    )
    assert in_child(f"{lower} {refuse}found = _allow(400); {read}") == "300 300 300\n"


def test_files_for_all_clients_and_servers_in_one_worker():
    assert needed(CONFIG) == 1000 + 4 * 5 + 3 * 2 + 64


@pytest.mark.parametrize(("limit", "clients"), [(1090, 1000), (5000, 1000), (1089, 999), (154, 64)])
def test_a_lower_limit_of_open_files_means_fewer_clients(
    monkeypatch: pytest.MonkeyPatch, limit: int, clients: int
):
    monkeypatch.setattr(open_files, "_allow", lambda wanted: limit)
    assert fit(CONFIG) == CONFIG.model_copy(update={"max_connections": clients})


def test_hardly_any_clients_are_not_worth_a_start(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(open_files, "_allow", lambda wanted: 153)
    with pytest.raises(
        StartError, match="max_connections 1000 needs 1090 open files and the limit is 153"
    ) as caught:
        fit(CONFIG)
    assert caught.value.hint is not None
    assert "raise it to 1090" in caught.value.hint
