"""A proxy's control socket that tests answer for."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.control_stand_in import ControlStandIn, Handler


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[Callable[[Handler], ControlStandIn]]:
    """`ControlStandIn` at a path of the test's own."""
    with ExitStack() as stack:

        def start(handle: Handler, name: str = "control.sock") -> ControlStandIn:
            return stack.enter_context(ControlStandIn(tmp_path / name, handle))

        yield start
