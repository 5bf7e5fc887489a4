"""The units that are shipped for systemd: it understands every line, and they keep what they promise."""

import configparser
import re
import sys
from pathlib import Path

import pytest

from memagent.open_files import needed
from memagent.settings import Config
from tests.support.processes import ROOT
from tests.support.systemd import systemd_analyze

UNITS = ROOT / "contrib" / "systemd"
MAGENT = "/opt/memagent/bin/magent"
# Tenths of systemd's exposure level, 0 to 100; from 50 on it calls a service exposed.
MOST_EXPOSED = 20


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """As they are, but for a magent that is on this machine."""
    for unit in UNITS.iterdir():
        (tmp_path / unit.name).write_text(unit.read_text().replace(MAGENT, sys.executable))
    return tmp_path


def complaints(units: Path) -> list[str]:
    """Of ours alone: verify reads what the machine has as well."""
    service, socket = str(units / "memagent.service"), str(units / "memagent.socket")
    code, said = systemd_analyze("verify", "--man=no", "--recursive-errors=no", service, socket)
    found = [line for line in said.splitlines() if "memagent" in line]
    assert code == 0 or found, said
    return found


def test_systemd_finds_nothing_wrong(units: Path):
    assert complaints(units) == []


def test_systemd_would_find_it(units: Path):
    service = units / "memagent.service"
    service.write_text(service.read_text().replace("KillMode=mixed", "KillMode=gentle\nNoSuchSetting=1"))
    assert len(complaints(units)) == 2


def test_the_service_is_hardly_exposed(units: Path):
    code, said = systemd_analyze(
        "security", "--offline=true", f"--threshold={MOST_EXPOSED}", str(units / "memagent.service")
    )
    assert code == 0, said


def test_its_limits_fit_the_defaults():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[method-assign,assignment]
    unit.read(UNITS / "memagent.service")
    service = unit["Service"]
    config = Config.model_validate({"pools": [{"name": "main", "servers": ["a:1"]}]})
    assert int(service["LimitNOFILE"]) > needed(config)
    assert int(re.sub(r"s$", "", service["TimeoutStopSec"])) * 1000 > config.drain_ms
    assert service["ExecStart"].split()[0] == service["ExecReload"].split()[0] == MAGENT
