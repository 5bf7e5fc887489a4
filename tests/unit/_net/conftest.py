"""Scenes, and the proof that each of them left nothing behind."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.core import live_objects
from tests.support.net import Scene


@pytest.fixture
def make_scene() -> Iterator[Callable[..., Scene]]:
    """`Scene(...)`. After the test no connection is open, no request under way, no buffer in use."""
    scenes: list[Scene] = []

    def make(*args: Any, **settings: Any) -> Scene:
        scenes.append(Scene(*args, **settings))
        return scenes[-1]

    yield make
    left = [scene.finish() for scene in scenes]
    assert not any(left), left
    scenes.clear()


@pytest.fixture(scope="module", autouse=True)
def _nobody_survives() -> Iterator[None]:
    """Sessions and exchanges go with the loop that they belonged to."""
    yield
    assert not live_objects()


@pytest.fixture
def scene(make_scene: Callable[..., Scene]) -> Scene:
    return make_scene()
