"""The reference pages are as new as the tables."""

from pathlib import Path

import pytest

from memagent.cli import reference
from memagent.counters import COUNTERS
from memagent.rows import settings_of
from memagent.settings import Config, PoolConfig, ServerConfig

FOLDER = Path(__file__).parents[3] / "docs" / "reference"


@pytest.mark.parametrize("name", reference.pages())
def test_no_page_is_stale(name):
    assert (FOLDER / name).read_text(encoding="utf-8") == reference.pages()[name], "run `make docs`"


def test_every_setting_and_counter_is_there():
    pages = reference.pages()
    for model in (Config, PoolConfig, ServerConfig):
        for row in settings_of(model).values():
            assert f"| `{row.name}` | {row.description} |" in pages["settings.md"]
    for counter in COUNTERS:
        assert f"| `{counter.name}` | {counter.kind} | {counter.unit} |" in pages["counters.md"]


def test_pages_are_written_where_asked(tmp_path):
    reference.main(str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == set(reference.pages())
