"""What keys do to the screen, and what they wish for."""

from dataclasses import replace

import pytest

from memagent.cli.top.screen import Explain, Page, Prompt, Quit, Screen, wrapped
from memagent.questions import Question, Request
from memagent.rates import Reading, compare
from tests.support.control_stand_in import MOVING, SERVER, WARM, counts_of, snapshot_of


def view_of(*servers):
    snapshot = snapshot_of(*servers)
    return compare(None, Reading(snapshot, counts_of(snapshot)))


def named(*names, **changed):
    return [replace(SERVER, name=name, **changed) for name in names]


@pytest.fixture
def screen():
    screen = Screen()
    screen.show(view_of(*named("c", "a", "b")))
    return screen


def selected(screen):
    rows = screen.rows()
    return rows[screen.selected_at(rows)].server.name


def press(screen, *keys):
    """The last wish."""
    return [screen.press(key) for key in keys][-1]


def test_quit(screen):
    assert isinstance(screen.press("q"), Quit)


def test_selecting(screen):
    assert selected(screen) == "c"
    for key, name in [("j", "a"), ("down", "b"), ("down", "b"), ("k", "a"), ("up", "c"), ("up", "c")]:
        assert screen.press(key) is None
        assert selected(screen) == name
    press(screen, "G")
    assert selected(screen) == "b"
    press(screen, "home")
    assert selected(screen) == "c"


def test_pages_are_as_long_as_the_list(screen):
    screen.show(view_of(*named(*map(str, range(100)))))
    screen.height = 15
    press(screen, "page down")
    assert selected(screen) == str(screen.n_lines) == "10"
    press(screen, "page down", "page up", "page up")
    assert selected(screen) == "0"


def test_what_is_selected_stays_so_wherever_it_is_sorted_to(screen):
    press(screen, "j")
    press(screen, "s")
    assert screen.sorted_by.title == "NAME"
    assert [row.server.name for row in screen.rows()] == ["a", "b", "c"]
    assert selected(screen) == "a"
    press(screen, "R")
    assert [row.server.name for row in screen.rows()] == ["c", "b", "a"]
    assert selected(screen) == "a"
    press(screen, "S")
    assert (screen.sorted_by, screen.is_backwards) == (None, False)


def test_sorting_goes_round_through_the_columns_that_are_shown(screen):
    shown = [column.title for column, _ in screen.columns()]
    for title in shown:
        press(screen, "s")
        assert screen.sorted_by.title == title
    press(screen, "s")
    assert screen.sorted_by is None
    press(screen, "S")
    assert screen.sorted_by.title == shown[-1]


def test_what_left_is_not_selected_any_more(screen):
    press(screen, "G")
    screen.show(view_of(*named("c", "a")))
    assert selected(screen) == "c"


def test_draining_is_asked_for_and_agreed_to(screen):
    press(screen, "j", "d")
    assert isinstance(screen.over, Question)
    wish = screen.press("y")
    assert isinstance(wish, Request)
    assert (wish.verb, wish.words["server"]) == ("drain", "a")
    assert screen.over is None


def test_the_question_knows_whether_there_are_copies(screen):
    snapshot = screen.view.snapshot
    alone = replace(snapshot, pools=(replace(snapshot.pools[0], has_copies=False),))
    screen.show(replace(screen.view, snapshot=alone))
    press(screen, "d")
    assert "have no copies" in screen.over.text


@pytest.mark.parametrize("key", ["n", "enter", "escape", "q", "Y", "d"])
def test_any_other_key_is_a_no(screen, key):
    press(screen, "d")
    assert screen.press(key) is None
    assert (screen.over, screen.message) == (None, "nothing was done")


def test_a_re_warm(screen):
    assert press(screen, "r", "y").verb == "rewarm"
    screen.show(view_of(*named("a", state="warming", warm=WARM)))
    assert press(screen, "r", "p").verb == "rewarm_pause"
    assert press(screen, "r", "a").verb == "rewarm_abort"


def test_keys_that_move(screen):
    press(screen, "m")
    assert screen.over is None
    snapshot = snapshot_of(*named("a"), *named("b", pool="other"))
    pools = (
        replace(snapshot.pools[0], servers=snapshot.pools[0].servers[:1]),
        replace(snapshot.pools[0], name="other", servers=snapshot.pools[0].servers[1:]),
    )
    ended = replace(MOVING, pool="third", ended_s=1.0)
    moving = (MOVING, replace(MOVING, pool="other", state="paused"), ended)
    snapshot = replace(snapshot, pools=pools, migrations=moving)
    screen.show(compare(None, Reading(snapshot, counts_of(snapshot))))
    assert [each.pool for each in screen.moving()] == ["main", "other"]
    assert screen.n_lines == 24 - 7
    wish = press(screen, "m", "p")
    assert (wish.verb, wish.words) == ("migration_pause", {"pool": "main"})
    assert press(screen, "j", "m", "p").verb == "migration_resume"
    wish = press(screen, "m", "a")
    assert (wish.verb, wish.words) == ("migration_abort", {"pool": "other"})


def test_a_refusal(screen):
    request = press(screen, "d", "y")
    screen.refused(request, "it is being replaced", "wait", can_force=False)
    assert (screen.message, screen.is_error) == ("it is being replaced: wait", True)
    screen.refused(request, "no other copy", "--force", can_force=True)
    assert isinstance(screen.over, Question)
    forced = screen.press("f")
    assert forced.words["force"] is True


def test_a_key_is_typed_and_explained(screen):
    press(screen, "e")
    assert isinstance(screen.over, Prompt)
    assert press(screen, "q", "x", "up", "backspace", "1", "ж", "enter") == Explain("q1ж")
    assert screen.over is None


def test_typing_ends_without_a_key(screen):
    assert press(screen, "e", "x", "escape") is None
    assert screen.over is None
    assert press(screen, "e", "x", "clear", "enter") is None
    assert screen.over is None


def test_no_key_is_too_long(screen):
    press(screen, "e", *("x" * 300))
    assert len(press(screen, "enter").key) == 250


def test_help_is_read_and_left(screen):
    screen.height = 12
    press(screen, "?")
    assert isinstance(screen.over, Page)
    assert any("drain" in line for line in screen.over.lines)
    assert any(line.startswith("P99 ") for line in screen.over.lines)
    press(screen, "down", "down")
    assert screen.over.first == 2
    press(screen, "end", "down")
    assert screen.over.first == len(screen.lines_of(screen.over)) - screen.n_lines
    press(screen, "x")
    assert screen.over is None


def test_a_page_that_is_seen_whole_is_left_by_any_key(screen):
    screen.over = Page("explain", ["one", "two"])
    press(screen, "down")
    assert screen.over is None


def test_before_the_first_reading():
    screen = Screen()
    for key in ("d", "r", "j", "end", "s", "R", "?", "x", "e", "escape"):
        assert screen.press(key) is None
    assert screen.rows() == screen.columns() == []


def test_a_message_lasts_until_the_next_key(screen):
    screen.say("a word", is_error=True)
    press(screen, "j")
    assert screen.message == ""


def test_trouble_lasts_until_the_next_reading(screen):
    screen.trouble = "no proxy listens"
    press(screen, "j")
    assert screen.trouble
    screen.show(view_of(*named("a")))
    assert not screen.trouble


def test_wrapping():
    assert wrapped("", 80) == [""]
    assert wrapped("one two three", 9) == ["one two", "  three"]
    assert all(len(part) <= 8 for part in wrapped("x" * 50, 3))
