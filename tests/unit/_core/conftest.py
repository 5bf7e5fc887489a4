"""Worlds without sockets, and the proof that each of them left nothing behind."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.copies import Pair
from tests.support.core import World, live_objects


@pytest.fixture(scope="module")
def _nobody_survives() -> Iterator[None]:
    """After the tests of a module no exchange or session lives on. (Too slow to be looked at after each.)"""
    yield
    assert not live_objects()


@pytest.fixture
def make_world(_nobody_survives: None) -> Iterator[Callable[..., World]]:
    """`World(...)`. After the test no request is under way and no buffer holds memory."""
    worlds: list[World] = []

    def make(*args: Any, **settings: Any) -> World:
        worlds.append(World(*args, **settings))
        return worlds[-1]

    yield make
    left = [world.finish() for world in worlds]
    assert not any(left), left


@pytest.fixture(autouse=True)
def _pairs_end() -> Iterator[None]:
    """After a test that made a Pair no request of it is under way and no buffer holds memory."""
    yield
    left = [pair.finish() for pair in Pair.made]
    Pair.made.clear()
    assert not any(left), left
