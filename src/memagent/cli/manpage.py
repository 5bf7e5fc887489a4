"""The man page magent(1), from the commands: roff with the macros of man(7)."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from memagent import __version__
from memagent.cli import magent
from memagent.cli.described import EXIT_CODES, HOW_TO_REACH, OWN_COMMAND_LINE, Described, commands

_NAME: Final = "a proxy that makes a set of memcached servers highly available"
_ENVIRONMENT: Final = (
    (
        "MEMAGENT_...",
        "Every setting of the configuration file, over that file or without one: MEMAGENT_WORKERS=4, "
        "MEMAGENT_POOLS__MAIN__SERVERS=10.0.0.1,10.0.0.2.",
    ),
    ("MEMAGENT_CONTROL_SOCKET", "Where the control socket is, for the commands too."),
    ("NO_COLOR", "No colours on a terminal."),
)


def manpage() -> str:
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    described = list(commands())
    yield '.\\" made by `make docs`: change the commands in src/memagent/cli, not this page'
    # No date: that of a release is not known when this is made, and a version says more.
    yield f'.TH MAGENT 1 "" "memagent {__version__}" "User Commands"'
    yield ".SH NAME"
    yield f"magent \\- {_roff(_NAME)}"
    yield ".SH SYNOPSIS"
    for usage in (("magent", "run -c FILE"), ("magent", "-s HOST:PORT [-s HOST:PORT]... [FLAG]...")):
        yield from (*_usage(usage), ".br")
    yield from _usage(("magent", "COMMAND --help"))
    yield ".SH DESCRIPTION"
    yield from _paragraphs(magent.help or "")
    yield ".PP"
    yield from _paragraphs(HOW_TO_REACH)
    yield ".SH COMMANDS"
    for each in described:
        if each.title != OWN_COMMAND_LINE:
            yield f".SS {_roff(each.title)}"
            yield from _command(each)
    for each in described:
        if each.title == OWN_COMMAND_LINE:
            yield f'.SH "{_roff(OWN_COMMAND_LINE.upper())}"'
            yield from _command(each)
    yield from _section("EXIT STATUS", EXIT_CODES)
    yield from _section("ENVIRONMENT", _ENVIRONMENT)
    yield ".SH SEE ALSO"
    yield ".BR memcached (1)"


def _command(each: Described) -> Iterator[str]:
    yield from (*_usage(each.usage), ".PP")
    yield from _paragraphs(each.text)
    for option, meaning in each.options:
        yield from _item(option, meaning)


def _section(title: str, items: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield f".SH {title}"
    for item, meaning in items:
        yield from _item(item, meaning)


def _item(name: str, meaning: str) -> Iterator[str]:
    yield from (".TP", f".B {_roff(name)}", *_paragraphs(meaning))


def _usage(pieces: tuple[str, ...]) -> Iterator[str]:
    name, *rest = pieces
    yield f".B {_roff(name)}"
    if rest:
        yield _roff(" ".join(rest))


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text.strip())):
        if number:
            yield ".PP"
        yield from (_roff(line.strip()) for line in paragraph.splitlines())


def _roff(text: str) -> str:
    """No character of it means anything to roff, and all are ASCII; what was in backquotes is bold."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq").replace("'", "\\(aq")
    text = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", text)
    text = re.sub(r"[^\x00-\x7f]", lambda found: f"\\[u{ord(found[0]):04X}]", text)
    return f"\\&{text}" if text.startswith(".") else text
