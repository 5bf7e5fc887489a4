"""Every seed, and with them everything that fuzzing has found, in the ordinary suite."""

from pathlib import Path

import pytest

from tests.fuzz import targets
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).with_name("corpus")
SEEDS = sorted(path for path in CORPUS.rglob("*") if path.is_file())


@pytest.mark.parametrize("seed", SEEDS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_seed(seed: Path) -> None:
    TARGETS[seed.parent.name](seed.read_bytes())


def test_every_target_has_seeds() -> None:
    assert {seed.parent.name for seed in SEEDS} == set(TARGETS)


def test_a_difference_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    class Deaf:
        def __init__(self, max_item_bytes: int) -> None: ...

        def feed(self, data: bytes) -> list[targets.Event]:
            return []

    monkeypatch.setattr("tests.reference.requests.RequestParser", Deaf)
    with pytest.raises(AssertionError, match="event 0 differs"):
        targets.clients(b"get k\r\n")
