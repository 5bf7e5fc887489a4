"""How much of its ring each server has."""

from typing import Any

import pytest

from memagent.admin.page.shares import shares_of
from tests.support.snapshots import config_of

A, B, C = "10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"


def shares(**pool: Any) -> list[float]:
    return shares_of(config_of(**pool).pools[0])


def test_by_weight_and_backups_for_themselves():
    a, b, backup = shares(servers=[{"address": A, "weight": 3}, B], backups=[C])
    assert a == pytest.approx(0.75, abs=0.05)
    assert a + b == pytest.approx(1)
    assert backup == 1


def test_copies_without_backups():
    found = shares(servers=[A, B, C], copies=2)
    assert len(found) == 3
    assert sum(found) == pytest.approx(1)
