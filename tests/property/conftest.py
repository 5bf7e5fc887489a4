"""Property tests of the core leave nothing alive: who looks for leaks later would find it."""

from collections.abc import Iterator

import pytest

from tests.support.core import live_objects


@pytest.fixture(autouse=True, scope="module")
def _nobody_survives() -> Iterator[None]:
    yield
    assert not live_objects()
