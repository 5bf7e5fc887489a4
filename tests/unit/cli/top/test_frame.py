"""The screen as lines: they fit, whatever is on it and however small it is."""

from dataclasses import replace

import pytest
from rich.cells import cell_len

from memagent.cli.top.frame import frame
from memagent.cli.top.screen import Page, Prompt, Screen
from memagent.questions import about_service
from memagent.rates import Reading, Traffic, compare
from memagent.snapshot import WorkerSnapshot
from tests.support.control_stand_in import MOVING, SERVER, counts_of, snapshot_of


def screen_of(*servers, width=80, height=24, **changed):
    snapshot = replace(snapshot_of(*servers), **changed)
    screen = Screen()
    screen.width, screen.height = width, height
    view = compare(None, Reading(snapshot, counts_of(snapshot)))
    screen.show(replace(view, traffic=Traffic(1234.0, 0.0, 5e6, 0.5, 100.0, 2000.0)))
    return screen


def many(n):
    return [replace(SERVER, name=f"s{number}") for number in range(n)]


def plain(screen, age_s=0.0):
    return [line.plain for line in frame(screen, age_s)]


def test_the_whole():
    workers = (WorkerSnapshot(0, 5, 0), WorkerSnapshot(1, 6, 0))
    lines = plain(screen_of(SERVER, replace(SERVER, name="b", state="down"), workers=workers))
    assert len(lines) == 24
    assert lines[:3] == [
        "memagent 0  127.0.0.1:12000  up 2 h  2 workers  0 clients",
        "1,234 requests/s  hits 50.0%  p50 100us  p99 2.0ms  0 errors/s  4882KiB/s",
        "",
    ]
    assert [line.split()[:3] for line in lines[3:6]] == [
        ["NAME", "STATE", "OPS/S"],
        [">", "a", "up"],
        ["b", "down", "-"],
    ]
    assert set(lines[6:-1]) == {""}
    assert lines[-1] == "d drain  r re-warm  e explain  s sort: as configured  ? help  q quit"


def test_a_worker_is_missing_and_the_proxy_ends():
    lines = plain(screen_of(SERVER, workers=(WorkerSnapshot(0, 0, 1),), draining=True))
    assert "ENDING  0 of 1 worker" in lines[0]


def test_keys_that_move():
    held = replace(MOVING, pool="b", waits_for="c:1 is down")
    lines = plain(screen_of(*many(40), width=100, migrations=(MOVING, held, replace(MOVING, ended_s=1.0))))
    assert lines[2:4] == [
        "pool main: copying: 50 %, 1,200 keys copied, 5000B, 100 copied/s, 60 s left",
        "pool b: copying: 50 %, 1,200 keys copied, 5000B, 100 copied/s, 60 s left, waits: c:1 is down",
    ]
    assert lines[5].split()[0] == "NAME"
    assert len(lines) == 24
    assert lines[0].endswith("servers 1-17 of 40")
    assert "  m migration  " in lines[-1]


def test_a_list_that_is_longer_than_the_screen():
    screen = screen_of(*many(40))
    lines = plain(screen)
    assert lines[0].endswith("servers 1-19 of 40")
    assert [line.split()[0] for line in lines[5:23]] == [f"s{number}" for number in range(1, 19)]
    for _ in range(19):
        screen.press("j")
    lines = plain(screen)
    assert lines[0].endswith("servers 20-38 of 40")
    assert lines[4].startswith("> s19 ")
    screen.press("end")
    lines = plain(screen)
    assert lines[0].endswith("servers 22-40 of 40")
    assert lines[22].startswith("> s39 ")


def test_what_is_sorted_by():
    screen = screen_of(*many(3))
    screen.press("s")
    screen.press("R")
    assert "s sort: NAME, backwards" in plain(screen)[-1]


def test_the_proxy_has_gone():
    screen = screen_of(SERVER)
    screen.trouble = "no proxy listens at /run/m.sock"
    assert plain(screen, 12.0)[1] == "12 s old: no proxy listens at /run/m.sock"
    screen.trouble = ""
    assert plain(screen, 12.0)[1] == "12 s old: the proxy does not answer"


def test_before_the_first_reading():
    screen = Screen()
    assert plain(screen)[:2] == ["magent top", "asking the proxy"]
    screen.trouble = "no proxy listens"
    assert plain(screen, 5.0)[1] == "no proxy listens"


def test_a_question():
    screen = screen_of(*many(40))
    screen.over = about_service(SERVER, True)
    lines = plain(screen)
    assert len(lines) == 24
    assert "Take the server a" in lines[-4]
    assert lines[-1] == "y drain it  any other key: leave it"
    screen.height = 3
    assert "Take the server a" in " ".join(plain(screen))


def test_a_prompt_shows_the_end_of_what_is_typed():
    screen = screen_of(SERVER, width=40)
    screen.over = Prompt("key to explain: ", "x" * 50 + "end\udcff")
    line = plain(screen)[-1]
    assert line.startswith("key to explain: xx")
    assert line.endswith("end\\xff_")
    assert len(line) == 40


def test_a_page():
    screen = screen_of(SERVER, height=10)
    screen.over = Page("explain", ["one", "", "x " * 60])
    lines = plain(screen)
    assert lines[3:7] == ["explain", "one", "", ("x " * 40).rstrip()]
    assert lines[-1] == "any key: back"
    screen.over = Page("help", [str(number) for number in range(30)], first=100)
    lines = plain(screen)
    assert lines[-2:] == ["29", "up and down: more  any other key: back"]


def test_a_server_is_marked_without_colour_and_its_state_is_a_word():
    screen = screen_of(replace(SERVER, state="down"))
    [title, first] = frame(screen)[3:5]
    assert first.plain.startswith("> a ")
    assert any("red" in str(span.style) for span in first.spans)
    assert "bold" in str(title.spans[0].style)


@pytest.mark.parametrize("height", [1, 2, 3, 4, 5, 6, 10])
@pytest.mark.parametrize("width", [1, 2, 7, 20, 45, 80, 300])
@pytest.mark.parametrize("over", ["list", "question", "prompt", "page", "trouble", "nothing"])
def test_it_fits_any_terminal(width, height, over):
    servers = [replace(SERVER, name="緩存" * 9, reason="r" * 300), *many(9)]
    screen = screen_of(*servers, width=width, height=height)
    match over:
        case "question":
            screen.over = about_service(servers[0], True)
        case "prompt":
            screen.over = Prompt("key to explain: ", "緩" * 50)
        case "page":
            screen.over = Page("explain", ["緩 " * 50, "x" * 200])
        case "trouble":
            screen.trouble = "no proxy " * 30
        case "nothing":
            screen.view = None
    lines = plain(screen, 5.0)
    assert len(lines) == height
    assert all(cell_len(line) <= width for line in lines), lines
