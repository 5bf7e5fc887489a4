"""The reference pages, from the tables: `python -m memagent.cli.reference docs/reference`.

One table, many faces: nothing in these pages is written by hand; a test fails when they are stale.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from memagent.cli.described import EXIT_CODES, HOW_TO_REACH, Described, commands
from memagent.cli.manpage import manpage
from memagent.counters import SERVER_COUNTERS, WORKER_COUNTERS, Counter, metric_of
from memagent.rows import Setting, settings_of
from memagent.schema import schema_text
from memagent.settings import Config, PoolConfig, ServerConfig, Table

_GENERATED = "<!-- made by `make docs`: change the table in src/memagent, not this page -->"

_TABLES: tuple[tuple[str, type[Table], str], ...] = (
    ("At the root of the file", Config, "They hold for the whole proxy."),
    ("In a pool", PoolConfig, "Under `pools: {NAME: {...}}`."),
    (
        "In a server",
        ServerConfig,
        "In the lists `servers` and `backups`: `{address: ..., name: ...}`, or just the address.",
    ),
)


_VARIABLES = (
    ("`MEMAGENT_WORKERS=4`", "`workers`, and so every setting at the root"),
    ("`MEMAGENT_LISTEN=127.0.0.1:11211,unix:/run/m.sock`", "`listen`, a list"),
    ("`MEMAGENT_POOLS__MAIN__FALLBACK=never`", "`fallback` of the pool `main`"),
    ("`MEMAGENT_POOLS__MAIN__SERVERS=10.0.0.1,10.0.0.2:11212`", "`servers` of the pool `main`, by address"),
    (
        "`MEMAGENT_POOLS__MAIN__SERVERS='{address: \"10.0.0.1:11211\", name: a, weight: 2}, 10.0.0.2'`",
        "the same with a name and a weight",
    ),
)


def pages() -> dict[str, str]:
    """Every page by its file name."""
    return {
        "settings.schema.json": schema_text(),
        "settings.md": _page("Settings", _settings()),
        "cli.md": _page("Command line", _command_line()),
        "counters.md": _page("Counters", _counters()),
        "magent.1": manpage(),
    }


def _page(title: str, lines: Iterable[str]) -> str:
    return "\n".join([f"# {title}", "", _GENERATED, "", *lines]).rstrip() + "\n"


# ---------------------------------------------------------------- settings


def _settings() -> Iterator[str]:
    yield (
        "The configuration file is YAML (JSON is YAML too). `magent check FILE` names every mistake with its "
        "line. [conf/](../../conf) has examples."
    )
    yield ""
    yield (
        "The unit is part of a setting's name. A time is a whole number of it, or text with a suffix: `250`, "
        "`250ms`, `1s`, `5m`. So is a size: `65536`, `64KiB`, `16MiB` (`k`, `m`, `g`: powers of 1024, as in "
        "memcached's `-I`)."
    )
    yield ""
    yield (
        "Editors complete and check the file by its [JSON Schema](settings.schema.json), which `magent check "
        "--schema` prints too: save it beside the file, whose first line is then "
        "`# yaml-language-server: $schema=settings.schema.json`."
    )
    yield ""
    yield (
        "Every setting can be given as an environment variable too. Flags win over the environment, the "
        "environment over the file, the file over the defaults."
    )
    yield ""
    yield (
        "Most changes are put in force by a [reload](../guides/changing.md), without a dropped connection; "
        "some wait for a restart: the last column says which."
    )
    for title, model, where in _TABLES:
        yield from ("", f"## {title}", "", where, "")
        rows = settings_of(model).values()
        yield from _table(
            ("setting", "meaning", "default", "allowed", "changed by"),
            map(_setting, rows),
        )

    if any(row.secret for _, model, _ in _TABLES for row in settings_of(model).values()):
        yield from ("", "## Secrets", "")
        yield (
            "A secret `x` can be given as `x_file: /path` too (`MEMAGENT_X_FILE`): the content of that file, "
            "without the newline at its end. A file that anybody but you and root may write is refused, one "
            "that everybody may read brings a warning. memagent never shows a secret."
        )
    yield from ("", "## Several files", "")
    yield (
        "`include: base.yaml` at the root of a file, or a list: `include: [base.yaml, conf.d/*.yaml]`. A "
        "path is relative to the file that names it and has to be there; a pattern stands for the files that "
        "match it, sorted by name, and may match none. Included files may include others."
    )
    yield ""
    yield (
        "Files are joined setting by setting: the including file wins over what it includes, and of two "
        "included files the later one. A pool may stand in several files, each with some of its settings. A "
        "list, such as `servers`, is replaced whole. `magent check FILE` shows where each setting comes from."
    )
    yield from ("", "## In the environment", "")
    yield from _table(("variable", "what it sets"), _VARIABLES)
    yield ""
    yield (
        "A list is written with commas. Where more than an address has to be said of a server, write the "
        "list as in YAML. An empty list is an empty variable; `null` is none where the default is none."
    )
    yield ""
    yield (
        "Between `POOLS__` and the last `__` stands the pool's name, in any case, with `_` for each "
        "character that is no letter or digit: `USERS_EU` is the pool `users-eu` of the file. A pool that "
        "the file does not have is made, with its name in lower case."
    )
    yield ""
    yield (
        "A variable that begins with `MEMAGENT_` and is no setting is a mistake. Only what Kubernetes sets "
        "for a Service named memagent (`MEMAGENT_SERVICE_HOST`, `MEMAGENT_PORT=tcp://...`) and "
        "`MEMAGENT_TEST_...` are let pass."
    )


def _setting(row: Setting) -> tuple[str, ...]:
    changed_by = "restart" if row.at_start else "reload"
    return f"`{row.name}`", row.description, row.default or "must be given", row.allowed, changed_by


# ---------------------------------------------------------------- command line


def _command_line() -> Iterator[str]:
    yield (
        "`magent COMMAND` works with a configuration file or with a running proxy; `magent` with flags alone "
        "is magent's own command line. Data goes to standard output, talk to standard error; `NO_COLOR` is "
        "respected."
    )
    yield ""
    yield HOW_TO_REACH
    yield ""
    yield from _table(("exit code", "meaning"), EXIT_CODES)
    for command in commands():
        yield from _command(command)


def _command(command: Described) -> Iterator[str]:
    yield from ("", f"## {command.title}", "", "```", " ".join(command.usage), "```", "", command.text)
    if command.options:
        yield ""
        yield from _table(
            ("option", "meaning"), [(f"`{option}`", meaning) for option, meaning in command.options]
        )


# ---------------------------------------------------------------- counters


def _counters() -> Iterator[str]:
    yield (
        "`stats` answers with the first table, summed over the workers; `stats servers` with the second for "
        "each server; `stats reset` starts counters, not gauges, from 0. Names are memcached's own where "
        "they mean the same. `metric` is the name that [Prometheus](../guides/monitoring.md) reads; "
        "`stats reset` does not change what it reads."
    )
    for title, counters in ("The proxy", WORKER_COUNTERS), ("Each server", SERVER_COUNTERS):
        yield from ("", f"## {title}", "")
        yield from _table(("name", "kind", "unit", "meaning", "metric"), map(_counter, counters))


def _counter(counter: Counter) -> tuple[str, ...]:
    total = "_total" if counter.kind == "counter" else ""
    metric = f"`{metric_of(counter).name}{total}`"
    return f"`{counter.name}`", counter.kind, counter.unit, counter.meaning, metric


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield _line(header)
    yield _line(["---"] * len(header))
    yield from map(_line, rows)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main(folder: str) -> None:
    for name, text in pages().items():
        Path(folder, name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
