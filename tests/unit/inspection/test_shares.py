"""What the rings of a pool give each of its holders."""

import pytest

from memagent.inspection.shares import count_shares
from tests.unit.inspection.test_places import BACKUPS, SERVERS, places


def test_owners_are_servers_and_copies_are_on_backups():
    owned, copied = count_shares(places(SERVERS, BACKUPS), 3000)
    assert sum(owned[:3]) == pytest.approx(1) == sum(copied[3:])
    assert owned[3:] == [0, 0]
    assert copied[:3] == [0, 0, 0]
    assert min(owned[:3] + copied[3:]) > 0.2


def test_copies_on_one_ring():
    owned, copied = count_shares(places(SERVERS, copies=2), 3000)
    assert sum(owned) == pytest.approx(1) == sum(copied)
    assert min(owned + copied) > 0.2


def test_no_copies():
    assert count_shares(places(SERVERS), 300)[1] == [0, 0, 0]
