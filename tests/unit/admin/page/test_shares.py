"""How much of its ring each server has."""

import pytest

from memagent.admin.page.shares import Shares
from tests.support.snapshots import config_of

A, B, C = "10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"


def test_by_weight_and_backups_for_themselves():
    config = config_of(servers=[{"address": A, "weight": 3}, B], backups=[C])
    a, b, backup = Shares().of(config, "main")
    assert a == pytest.approx(0.75, abs=0.05)
    assert a + b == pytest.approx(1)
    assert backup == 1


def test_copies_without_backups():
    found = Shares().of(config_of(servers=[A, B, C], copies=2), "main")
    assert len(found) == 3
    assert sum(found) == pytest.approx(1)


def test_remembered_until_the_pool_changes():
    shares, config = Shares(), config_of(servers=[A, B])
    found = shares.of(config, "main")
    assert shares.of(config_of(servers=[A, B]), "main") is found
    assert len(shares.of(config_of(servers=[A, B, C]), "main")) == 3
    assert shares.of(config, "gone") == []
