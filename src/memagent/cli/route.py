"""`magent route`: on which server a key lives."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, BinaryIO

import click

from memagent import environment
from memagent.cli.flags import load_any, load_magent, magent_flags, to_flags
from memagent.cli.reach import pool_option
from memagent.cli.table import aligned
from memagent.errors import ConfigError
from memagent.inspection.keys import HINT, as_text, problem_of, visible
from memagent.inspection.routing import Routed, pool_of, routed
from memagent.reading import Mistakes
from memagent.settings import Config

_ROWS_AT_ONCE = 1000


@dataclass(frozen=True)
class Place:
    """Where a key lives. Without backups and with copies: 2 the backup is another one of the servers."""

    key: str  # bytes that are no UTF-8 are kept as surrogates
    pool: str
    server: str
    index: int
    backup: str | None
    backup_index: int | None


@click.command()
@click.option(
    "-c", "--config", "path", metavar="FILE", help="YAML, or magent's INI file if it ends in .conf."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@pool_option
@magent_flags("-s", "-b", "-k")
@click.argument("keys", metavar="KEY...", nargs=-1)
def route(path: str | None, as_json: bool, pool: str | None, keys: tuple[str, ...], **given: Any) -> None:
    """Show in which pool and on which server each KEY lives, and on which backup its copy.

    `-` reads keys from standard input, one a line. The servers come from a configuration file (-c), or
    from magent's flags as they stand in your start script: those that say nothing about servers may stay.
    No server is contacted. A key that starts with - goes after --.
    """
    config = _config(path, given)
    if pool is not None:
        pool_of(config, pool)
    if not keys:
        raise click.UsageError("no KEY: give some, or - to read them from standard input")

    from memagent.topology import make_placement

    mistakes = Mistakes(HINT)
    stdin = sys.stdin.buffer if "-" in keys else None
    good = (key for where, key in _each_key(keys, stdin) if _is_good(key, where, mistakes))
    locate = {each.name: make_placement(each).locate for each in config.pools}
    ways = _routed(good, config, pool, mistakes)
    places = (_place(key, way, locate[way.pool.name]) for key, way in ways)
    at_once = 1 if stdin is not None and stdin.isatty() else _ROWS_AT_ONCE
    _print(places, config, as_json, sys.stdout.buffer, at_once)
    mistakes.raise_if_any()


def _config(path: str | None, given: dict[str, Any]) -> Config:
    if not any(given.values()) and (path is not None or environment.is_given(os.environ)):
        return load_any(path)
    if path is None and not given["servers"]:
        raise ConfigError("no servers: give -c FILE, or magent's -s HOST:PORT", "magent route --help")
    return load_magent(path, to_flags(given), "give either -c or magent's flags").config


def _each_key(keys: tuple[str, ...], stdin: BinaryIO | None) -> Iterator[tuple[str, bytes]]:
    for key in keys:
        if key != "-" or stdin is None:
            yield "", os.fsencode(key)
            continue
        for number, line in enumerate(stdin, start=1):
            stripped = line.rstrip(b"\r\n")
            if stripped:
                yield f"standard input, line {number}", stripped


def _is_good(key: bytes, where: str, mistakes: Mistakes) -> bool:
    problem = problem_of(key)
    if problem is not None:
        mistakes.note(where, problem)
    return problem is None


def _routed(
    keys: Iterable[bytes], config: Config, pool: str | None, mistakes: Mistakes
) -> Iterator[tuple[bytes, Routed]]:
    for key in keys:
        try:
            way = routed(config, key, pool)
        except ConfigError as error:
            mistakes.note(error.message)
        else:
            yield key, way


def _place(key: bytes, way: Routed, locate: Callable[[bytes], tuple[int, int]]) -> Place:
    pool = way.pool
    owner, copy = locate(way.stored)
    backup = (pool.backups or pool.servers)[copy].name if copy >= 0 else None
    server = pool.servers[owner].name
    return Place(as_text(key), pool.name, server, owner, backup, copy if copy >= 0 else None)


def _print(places: Iterator[Place], config: Config, as_json: bool, out: BinaryIO, at_once: int) -> None:
    has_pools = len(config.pools) > 1
    header: tuple[str, ...] = ("KEY", "POOL", "SERVER", "INDEX") if has_pools else ("KEY", "SERVER", "INDEX")
    if any(pool.has_copies for pool in config.pools):
        header += ("BACKUP", "INDEX")
    above = [header]
    while batch := list(islice(places, at_once)):
        lines: Iterable[str]
        if as_json:
            lines = map(_json, batch)
        else:
            lines = aligned(above + [_row(place, has_pools)[: len(header)] for place in batch])
            above = []
        out.write("".join(line + "\n" for line in lines).encode(errors="surrogateescape"))
        out.flush()


def _row(place: Place, has_pools: bool) -> tuple[str, ...]:
    where = (place.pool, place.server) if has_pools else (place.server,)
    copy = ("-", "-") if place.backup is None else (place.backup, str(place.backup_index))
    return visible(place.key), *where, str(place.index), *copy


def _json(place: Place) -> str:
    # JSON is UTF-8: bytes that are not can only be written as escapes; nor may a key steer a terminal
    return json.dumps(asdict(place), ensure_ascii=not place.key.isprintable(), separators=(",", ":"))
