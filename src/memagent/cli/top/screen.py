"""What is shown, and what a key does to it.

    key ──▶ press ──▶ sorted or selected otherwise, a question, a prompt, a page
                └───▶ a Wish, for who can fulfil it: Quit, Request, Explain

The list is always there; over it stands at most one of Question, Prompt and Page, and takes the keys.
What is selected is a server and not a line: it stays selected wherever it is sorted to.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from memagent.cli.top.columns import Column, columns_for, fit, in_order
from memagent.questions import (
    Question,
    Request,
    about_force,
    about_migration,
    about_refilling,
    about_service,
)
from memagent.rates import Identity, Row, View
from memagent.snapshot import MigrationSnapshot

HEAD_LINES: Final = 4  # the proxy, its traffic, the message, the titles
MOST_MOVING: Final = 3  # migrations under way have a line each, so many of them
FOOT_LINES: Final = 1
MARGIN: Final = 2  # before each row, for the mark of what is selected
_LONGEST_KEY: Final = 250
_MOVES: Final = ("up", "down", "j", "k", "page up", "page down", "home", "end", "g", "G")

KEYS_HELP: Final = (
    ("up down j k", "select a server; also page up, page down, home, end, g, G"),
    ("d", "drain the selected server, or undrain it; asks first"),
    ("r", "re-warm it; of a re-warm under way: pause, go on, abort"),
    ("m", "keys that move to other servers, if any do: hold them, go on, give up"),
    ("e", "explain a key: where it belongs and what is there now"),
    ("s S", "sort by the next or the previous column"),
    ("R", "the other way round"),
    ("q", "quit"),
)


class Quit:
    """Nothing more is to be shown."""


@dataclass(frozen=True, slots=True)
class Explain:
    """What is there to say of this key?"""

    key: str


Wish = Quit | Request | Explain


@dataclass(slots=True)
class Prompt:
    """A text that is being typed."""

    label: str
    text: str = ""


@dataclass(slots=True)
class Page:
    """Lines to read, `first` being at the top."""

    title: str
    lines: Sequence[str]
    first: int = 0


class Screen:
    def __init__(self, sort: str | None = None) -> None:
        self.width, self.height = 80, 24
        self.view: View | None = None
        self.over: Question | Prompt | Page | None = None
        self.message = ""
        self.is_error = False
        self.trouble = ""
        self.is_backwards = False
        self._sort = sort
        self._selected: Identity | None = None

    # ------------------------------------------------------------ what is seen

    @property
    def n_lines(self) -> int:
        """How many lines of the list, or of a page, there is room for."""
        return max(1, self.height - HEAD_LINES - len(self.moving()) - FOOT_LINES)

    def moving(self) -> tuple[MigrationSnapshot, ...]:
        """Those that are shown of the migrations under way; that of the selected server's pool is always."""
        if self.view is None:
            return ()
        rows, found = self.rows(), self.view.snapshot.moving()
        pool = rows[self.selected_at(rows)].server.pool if rows else ""
        return tuple(sorted(found, key=lambda each: each.pool != pool)[:MOST_MOVING])

    def rows(self) -> list[Row]:
        if self.view is None:
            return []
        return in_order(self.view.rows, self.view.snapshot.now_s, self.sorted_by, self.is_backwards)

    def columns(self) -> list[tuple[Column, int]]:
        if self.view is None:
            return []
        return fit(self.view.rows, self.view.snapshot.now_s, self.width - MARGIN)

    @property
    def sorted_by(self) -> Column | None:
        """None: as configured."""
        rows = self.view.rows if self.view is not None else ()
        return next((column for column in columns_for(rows) if column.title == self._sort), None)

    def selected_at(self, rows: Sequence[Row]) -> int:
        """The first if none is, or it has gone."""
        return next((at for at, row in enumerate(rows) if row.identity == self._selected), 0)

    def lines_of(self, page: Page) -> list[str]:
        """As wide as the screen."""
        return [part for line in page.lines for part in wrapped(line, self.width)]

    # ------------------------------------------------------------ what happens

    def show(self, view: View) -> None:
        self.view, self.trouble = view, ""

    def say(self, message: str, is_error: bool = False) -> None:
        self.message, self.is_error = message, is_error

    def refused(self, request: Request, why: str, hint: str | None, can_force: bool) -> None:
        if can_force:
            self.say("")
            self.over = about_force(request, why)
        else:
            self.say(f"{why}: {hint}" if hint else why, is_error=True)

    def press(self, key: str) -> Wish | None:
        self.message = ""
        match self.over:
            case Question(choices=choices):
                self.over = None
                if key in choices:
                    return choices[key].request
                self.say("nothing was done")
            case Prompt():
                return self._type(self.over, key)
            case Page():
                self._turn(self.over, key)
            case None:
                return self._command(key)
        return None

    def _command(self, key: str) -> Wish | None:
        match key:
            case "q":
                return Quit()
            case "?" | "h":
                self.over = self._help()
            case "e":
                self.over = Prompt("key to explain: ")
            case "s" | "S":
                self._sort_by_next(1 if key == "s" else -1)
            case "R":
                self.is_backwards = not self.is_backwards
            case "m" if moving := self.moving():
                self.over = about_migration(moving[0])
            case "d" | "r":
                self._ask_about_selected(key)
            case _:
                self._move(key)
        return None

    def _ask_about_selected(self, key: str) -> None:
        rows = self.rows()
        if self.view is None or not rows:
            return
        server = rows[self.selected_at(rows)].server
        pools = self.view.snapshot.pools
        has_copies = any(pool.has_copies for pool in pools if server in pool.servers)
        self.over = about_service(server, has_copies) if key == "d" else about_refilling(server)

    def _move(self, key: str) -> None:
        rows = self.rows()
        if rows:
            at = _moved(key, self.selected_at(rows), self.n_lines, len(rows) - 1)
            self._selected = rows[at].identity

    def _sort_by_next(self, step: int) -> None:
        titles: list[str | None] = [None, *(column.title for column, _ in self.columns())]
        at = titles.index(self._sort) if self._sort in titles else 0
        self._sort = titles[(at + step) % len(titles)]
        self.is_backwards = False

    def _type(self, prompt: Prompt, key: str) -> Wish | None:
        match key:
            case "enter":
                self.over = None
                return Explain(prompt.text) if prompt.text else None
            case "escape":
                self.over = None
            case "backspace":
                prompt.text = prompt.text[:-1]
            case "clear":
                prompt.text = ""
            case _ if len(key) == 1 and len(prompt.text) < _LONGEST_KEY:
                prompt.text += key
        return None

    def _turn(self, page: Page, key: str) -> None:
        last = max(0, len(self.lines_of(page)) - self.n_lines)
        if key in _MOVES and last:
            page.first = _moved(key, page.first, self.n_lines, last)
        else:
            self.over = None

    def _help(self) -> Page:
        keys = [f"{key:<12}  {meaning}" for key, meaning in KEYS_HELP]
        rows = self.view.rows if self.view is not None else ()
        columns = [f"{column.title:<12}  {column.meaning}" for column in columns_for(rows)]
        return Page("help", [*keys, "", *columns])


def wrapped(line: str, width: int) -> list[str]:
    """At spaces where that can be; what goes on is indented."""
    return textwrap.wrap(line, max(8, width), subsequent_indent="  ") or [""]


def _moved(key: str, at: int, page: int, last: int) -> int:
    match key:
        case "up" | "k":
            at -= 1
        case "down" | "j":
            at += 1
        case "page up":
            at -= page
        case "page down":
            at += page
        case "home" | "g":
            at = 0
        case "end" | "G":
            at = last
    return max(0, min(at, last))
