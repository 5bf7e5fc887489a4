"""Scenes, and the proof that each of them left nothing behind."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

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


@pytest.fixture
def scene(make_scene: Callable[..., Scene]) -> Scene:
    return make_scene()
