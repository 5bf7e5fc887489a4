"""magent(1): good roff, and everything in it (Debian's package `mandoc`)."""

import shutil
import subprocess

import pytest

from memagent.cli.described import commands
from memagent.cli.manpage import _roff, manpage


def mandoc(*arguments: str) -> str:
    program = shutil.which("mandoc")
    assert program, "mandoc is missing: apt-get install mandoc"
    done = subprocess.run(
        [program, *arguments], input=manpage(), capture_output=True, text=True, timeout=30, check=False
    )
    return done.stdout


def test_nothing_is_wrong_with_it_but_that_it_has_no_date():
    found = mandoc("-T", "lint", "-W", "warning").splitlines()
    assert [line.partition("WARNING: ")[2] for line in found] == ['missing date, using "": TH'], found


def test_every_command_and_option_can_be_read():
    shown = " ".join(mandoc("-T", "ascii", "-O", "width=1000").replace("\b", "\0").split())
    # a letter in bold is the letter, a step back and the letter
    text = "".join(letter for at, letter in enumerate(shown) if "\0" not in shown[at : at + 2])
    for each in commands():
        assert " ".join(each.usage) in text
        for option, meaning in each.options:
            assert f"{option} {meaning}".replace("`", "") in text
    for title in ("NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "EXIT STATUS", "ENVIRONMENT", "SEE ALSO"):
        assert title in text


@pytest.mark.parametrize(
    ("text", "roff"),
    [
        ("--all", "\\-\\-all"),
        (".conf", "\\&.conf"),
        ("'x'", "\\(aqx\\(aq"),
        ('a "b" \\', "a \\(dqb\\(dq \\e"),
        ("`verify` it", "\\fBverify\\fR it"),
        ("ключ", "\\[u043A]\\[u043B]\\[u044E]\\[u0447]"),
    ],
)
def test_no_character_means_anything_to_roff(text: str, roff: str):
    assert _roff(text) == roff
