"""The docs as users read them: links lead somewhere, configurations are good, nothing named is missing."""

import contextlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import click
import pytest

from memagent import config
from memagent.cli import magent
from memagent.cli.legacy import legacy
from memagent.counters import COUNTERS
from memagent.legacy import _INI_KEYS
from memagent.rows import settings_of
from memagent.settings import Config, Distribution, KeyHash, PoolConfig, ServerConfig
from tests.support.processes import ROOT
from tests.support.sources import PACKAGE

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
DOCS = [page for page in PAGES if page.is_relative_to(ROOT / "docs")]
FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)

# A verb, a word of the control API, any secret's file, settings of twemproxy and Prometheus.
FOREIGN = {
    "rule_files",
    "flush_all",
    "lru_crawler",
    "expiry_s",
    "keep_data",
    "x_file",
    "auto_eject_hosts",
    "server_connections",
    "server_failure_limit",
    "server_retry_timeout",
}


def prose(page: Path) -> str:
    return FENCED.sub("", page.read_text("utf-8"))


def anchors(page: Path) -> set[str]:
    """As GitHub makes them from headings."""
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(page: Path) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if not re.match(r"\w+:", target):
            yield target


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in links(page):
        path, _, anchor = target.partition("#")
        goal = (page.parent / path).resolve() if path else page
        if not goal.exists() or (anchor and anchor not in anchors(goal)):
            broken.append(target)
    assert not broken


def test_the_page_on_copies_begins_with_what_is_not_promised() -> None:
    """behaviour.md section 8."""
    titles = re.findall(r"^## (.*)$", prose(ROOT / "docs" / "concepts" / "copies.md"), re.MULTILINE)
    assert titles[0] == "What is not promised"


def test_every_page_of_the_docs_is_reached_from_the_index() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "docs" / "index.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        waiting += [(page.parent / target.partition("#")[0]).resolve() for target in links(page)]
    assert not set(DOCS) - reached


@pytest.mark.parametrize("page", DOCS, ids=[page.stem for page in DOCS])
def test_what_is_named_exists(page: Path) -> None:
    """Words with an underscore in backquotes: settings, counters, choices (metrics: see test_contrib)."""
    known = {name for model in (Config, PoolConfig, ServerConfig) for name in settings_of(model)}
    known |= {f"{row.name}_file" for row in settings_of(Config).values() if row.secret}
    known |= {counter.name for counter in COUNTERS} | {*get_args(KeyHash), *get_args(Distribution)}
    known |= FOREIGN | _INI_KEYS.keys()
    named = {
        word
        for code in re.findall(r"`([^`\n]+)`", prose(page))
        for word in re.findall(r"(?<![\w./<-])[a-z][a-z0-9]*(?:_[a-z0-9]+)+(?![\w./>-])", code)
    }
    assert sorted({word for word in named if not word.startswith("memagent_")} - known) == []


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_configurations_are_good(page: Path) -> None:
    for language, text in FENCED.findall(page.read_text("utf-8")):
        if language == "yaml" and re.search(r"^ *pools:", text, re.MULTILINE):
            config.parse(text, page.name)


def test_pages_show_configurations() -> None:
    """The test above looks at some."""
    shown = [
        text for page in PAGES for _, text in FENCED.findall(page.read_text("utf-8")) if "pools:" in text
    ]
    assert len(shown) >= 3


def test_every_error_that_the_proxy_answers_is_explained() -> None:
    explained = (
        (ROOT / "docs" / "reference" / "errors.md").read_text("utf-8").replace("NAME", "{server.name}")
    )
    answered = set()
    for source in [*PACKAGE.glob("_core/*.pyx"), *PACKAGE.glob("_net/*.pyx")]:
        text = source.read_text("utf-8")
        answered |= set(re.findall(r'"((?:SERVER|CLIENT)_ERROR [^"\\{]*\w)', text))
        answered |= set(re.findall(r'return f"(server \{server\.name\} [^"]*)"', text))
        answered |= set(re.findall(r'\.note\("([^"]+?):? *"', text))
    assert len(answered) >= 17
    assert not {each for each in answered if each not in explained}


def shown_commands() -> list[str]:
    """magent's command lines in fenced blocks, each up to its pipe, file or remark."""
    found = set()
    for page in PAGES:
        for _, text in FENCED.findall(page.read_text("utf-8")):
            for line in text.replace("\\\n", " ").splitlines():
                match = re.match(r"\s*(?:\.venv/bin/)?magent ([^|>#]+)", line)
                if match and "[" not in line:
                    found.add(" ".join(match[1].split()))
    return sorted(found)


@pytest.mark.parametrize("line", shown_commands())
def test_commands_can_be_parsed(line: str) -> None:
    arguments = shlex.split(line.replace("$CONFIG", "magent.yaml"))
    command: click.Command = legacy
    if not arguments[0].startswith("-"):
        found = magent.get_command(click.Context(magent), arguments.pop(0))
        assert found is not None, line
        command = found
    with contextlib.suppress(click.exceptions.Exit):  # --help
        command.make_context("magent", arguments)


def test_pages_show_commands() -> None:
    """The test above looks at some."""
    assert len(shown_commands()) >= 15
