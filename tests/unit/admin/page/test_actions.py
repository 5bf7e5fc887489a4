"""What may be done to a server, depending on how it is."""

from dataclasses import replace
from typing import Any

import pytest

from memagent.admin.page.actions import actions_of, actions_of_migration
from tests.support.control_stand_in import MOVING, SERVER, WARM

RUNNING = replace(SERVER, state="warming", warm=WARM)


@pytest.mark.parametrize(
    ("server", "has_copies", "paths"),
    [
        (SERVER, True, ["drain", "rewarm", "replace", "flush"]),
        (SERVER, False, ["drain", "replace", "flush"]),
        (replace(SERVER, held=True), True, ["undrain", "rewarm", "replace", "flush"]),
        (RUNNING, True, ["drain", "rewarm/pause", "rewarm/abort", "replace", "flush"]),
        (
            replace(RUNNING, warm=replace(WARM, state="paused")),
            True,
            ["drain", "rewarm/resume", "rewarm/abort", "replace", "flush"],
        ),
    ],
)
def test_what_makes_sense(server: Any, has_copies: bool, paths: list[str]):
    assert [each.path for each in actions_of(server, has_copies)] == paths


def test_each_says_what_it_will_do_and_how_it_is_asked_for():
    drain, _, replaced, flush = actions_of(SERVER, True)
    assert (drain.label, drain.body, drain.is_dangerous) == ("Drain it", {}, False)
    assert "Requests under way are answered first" in drain.text
    assert [field.name for field in replaced.fields] == ["address", "keep_data"]
    assert "No key moves" in replaced.text
    assert (flush.body, flush.is_dangerous) == ({"confirm": "flush_all"}, True)
    assert "Their copies are asked meanwhile" in flush.text
    assert "no copies" in actions_of(SERVER, False)[-1].text


def test_keys_that_move():
    pause, abort = actions_of_migration(MOVING)
    assert (pause.label, pause.path, pause.is_dangerous) == ("Pause it", "pause", False)
    assert (abort.label, abort.path, abort.is_dangerous) == ("Abort it", "abort", True)
    assert "what is not copied yet misses" in abort.text
    resume, _ = actions_of_migration(replace(MOVING, state="paused"))
    assert (resume.label, resume.path) == ("Go on", "resume")
