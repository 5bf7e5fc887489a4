"""What was observed of magent, libmemcached and twemproxy, asked of `magent route -c FILE - --json`."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from memagent import cli
from tests.functional.tools import magent
from tests.reference.observed import Case, observed_cases

KEYS, CASES = observed_cases()
GIVEN = b"".join(key + b"\n" for key in KEYS)
SYSTEMS = ("magent-", "magent_0.7-", "libmemcached_1.1.4-", "twemproxy_0.5.0-")


def config_of(case: Case, folder: Path) -> str:
    servers: list[dict[str, Any]] = []
    for index, (name, host, port, weight) in enumerate(case.servers):
        if name:
            servers.append({"address": f"{host}:{port + index}", "name": name, "weight": weight})
        else:
            servers.append({"address": f"{host}:{port}", "weight": weight})
    pool = {"servers": servers, "distribution": case.distribution, "key_hash": case.key_hash}
    path = folder / "magent.yaml"
    path.write_text(json.dumps({"pools": {"main": pool}}))
    return str(path)


def owners_in(output: str) -> list[int]:
    rows = [json.loads(line) for line in output.splitlines()]
    assert [row["key"].encode() for row in rows] == KEYS
    return [row["index"] for row in rows]


@pytest.mark.parametrize("case", CASES, ids=[case.title for case in CASES])
def test_every_observed_case(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(GIVEN)))
    assert cli.call(["route", "-c", config_of(case, tmp_path), "-", "--json"]) == 0
    assert owners_in(capfdbinary.readouterr().out.decode()) == case.owners


@pytest.mark.parametrize("system", SYSTEMS)
def test_one_case_of_each_system_in_a_process_of_its_own(system: str, tmp_path: Path) -> None:
    *_, case = (case for case in CASES if case.title.startswith(system))
    output = magent("route", "-c", config_of(case, tmp_path), "-", "--json", given=GIVEN)
    assert owners_in(output) == case.owners


@pytest.mark.parametrize("ketama", [False, True])
def test_magents_flags_place_keys_as_magent_did(
    ketama: bool, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    cases = [case for case in CASES if case.title.startswith("magent_0.7-" if ketama else "magent-")]
    assert len(cases) == 5
    for case in cases:
        flags = [text for _, host, port, _ in case.servers for text in ("-s", f"{host}:{port}")]
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(GIVEN)))
        assert cli.call(["route", *flags, *["-k"][:ketama], "-", "--json"]) == 0
        assert owners_in(capfdbinary.readouterr().out.decode()) == case.owners
