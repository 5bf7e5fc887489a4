"""What is shipped for Prometheus and Grafana: whole, and about metrics that there are."""

import dataclasses
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from memagent.admin.metrics import exposition
from memagent.segment import Segment
from memagent.snapshot import WorkerSnapshot
from tests.support.control_stand_in import MOVING, SERVER, snapshot_of
from tests.support.processes import ROOT
from tests.support.promtool import promtool

PROMETHEUS = ROOT / "contrib" / "prometheus"
RULES = PROMETHEUS / "memagent.rules.yml"
TESTS = PROMETHEUS / "memagent.rules.test.yml"
DASHBOARD = ROOT / "contrib" / "grafana" / "memagent.json"
GUIDE = ROOT / "docs" / "guides" / "monitoring.md"
# What Grafana puts in its variables' places.
VARIABLES = {"$__rate_interval": "5m", "$job": ".*", "$instance": ".*", "$pool": ".*"}


@pytest.fixture(scope="module")
def names() -> set[str]:
    """Every name that a scrape has."""
    segment = Segment.create(1, 1)
    running = dataclasses.replace(
        snapshot_of(SERVER),
        pid=os.getpid(),
        workers=(WorkerSnapshot(0, os.getpid(), 0),),
        migrations=(MOVING,),
    )
    _, text = exposition(running, segment)
    segment.close()
    families = list(text_string_to_metric_families(text.decode()))
    # one that nobody has a sample of yet, such as a re-warm's, is there nevertheless
    return {f.name for f in families} | {sample.name for f in families for sample in f.samples}


def rules() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    return found


def expressions(panels: list[dict[str, Any]]) -> Iterator[str]:
    for panel in panels:
        yield from (target["expr"] for target in panel.get("targets", []))
        yield from expressions(panel.get("panels", []))


@pytest.mark.parametrize("path", [RULES, TESTS, DASHBOARD, GUIDE], ids=lambda path: path.name)
def test_every_metric_that_is_named_exists(path: Path, names: set[str]):
    named = set(re.findall(r"\bmemagent_[a-z0-9_]+\b", path.read_text()))
    assert len(named) > 10
    assert not named - names


def test_the_alerts_are_good_rules_and_do_what_their_tests_say():
    assert "SUCCESS" in promtool("check", "rules", str(RULES))
    assert "SUCCESS" in promtool("test", "rules", str(TESTS), folder=PROMETHEUS)


def test_every_alert_is_tried_and_explained():
    fired = {
        test["alertname"]
        for case in yaml.safe_load(TESTS.read_text())["tests"]
        for test in case["alert_rule_test"]
        if test["exp_alerts"]
    }
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    assert fired == alerts
    assert alerts == set(re.findall(r"\bMemagent\w+", GUIDE.read_text()))


def test_the_dashboard_asks_good_questions(tmp_path: Path):
    dashboard = json.loads(DASHBOARD.read_text())
    asked = list(expressions(dashboard["panels"]))
    assert len(asked) > 30
    for variable, value in VARIABLES.items():
        asked = [expression.replace(variable, value) for expression in asked]
    assert not [expression for expression in asked if "$" in expression]
    as_rules = [{"record": f"panel:{number}", "expr": each} for number, each in enumerate(asked)]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": as_rules}]}))
    assert f"{len(asked)} rules found" in promtool("check", "rules", str(file))
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)


def test_without_promtool_it_fails_and_says_what_is_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(os.environ, "PATH", "/nowhere")
    with pytest.raises(AssertionError, match="apt-get install prometheus"):
        promtool("--version")
