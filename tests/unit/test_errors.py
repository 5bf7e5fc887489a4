"""Errors that reach a user: a message, a way out, an exit code."""

import pytest

from memagent import errors
from memagent.errors import ConfigError, MemagentError, StartError


def test_a_message_and_a_hint():
    error = StartError("listen :80: Permission denied", "start it as root")
    assert str(error) == error.message == "listen :80: Permission denied"
    assert error.hint == "start it as root"
    assert StartError("x").hint is None


@pytest.mark.parametrize(("kind", "exit_code"), [(ConfigError, 2), (StartError, 1)])
def test_exit_codes_tell_mistakes_from_refusals(kind: type[MemagentError], exit_code: int):
    assert kind("x").exit_code == exit_code


def test_every_kind_is_caught_as_one():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) >= 3
    assert all(issubclass(kind, MemagentError) for kind in kinds)
    assert all(kind("x").exit_code in (1, 2) for kind in kinds)
