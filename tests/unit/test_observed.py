"""What single requests tell goes through JSON and back."""

import json

import pytest

from memagent.observed import Hot, HotKey, Phase, Seen, Slow, Tapped
from memagent.snapshot import as_json, from_json

KEY = HotKey("k\\xff", "a/8=", 10.0, 9.5, 11.0, 0.25, 10.0, 0.0, None)
SEEN = Seen(
    *(5.0, 1, "get", "k", "aw==", 2, 1, "HIT", "10.0.0.9:5", 120),
    phases=(Phase("first", "a", 20), Phase("fallback", "b", 100)),
)


@pytest.mark.parametrize(
    "value", [Hot(40.0, 1.5, (KEY, KEY)), Slow(100, 7, (SEEN,)), Tapped((), 3, 0), Tapped((SEEN, SEEN), 3, 2)]
)
def test_the_way_through_json(value: Hot | Slow | Tapped):
    assert from_json(type(value), json.loads(json.dumps(as_json(value)))) == value
