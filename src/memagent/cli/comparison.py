"""What `magent check --diff` prints: settings and servers that change, and keys that move."""

from collections.abc import Iterable, Iterator

import click

from memagent.cli.table import aligned
from memagent.differences import changes
from memagent.errors import ConfigError
from memagent.inspection.keys import HINT, problem_of
from memagent.inspection.moves import Moves, count_moves, made_up_keys
from memagent.inspection.places import Places
from memagent.reading import Mistakes
from memagent.settings import Config
from memagent.units import quoted


def compare(old: Config, new: Config, old_name: str, keys_path: str | None, sample: int) -> None:
    """Print what `new` changes. Keys are those of a file, or made up."""
    found = list(changes(old, new))
    if not found:
        click.echo(f"nothing changes against {old_name}")
        return
    click.echo(f"changes against {old_name}:\n")
    rows = [("WHAT", "NOW", "THEN"), *((each.where, each.old or "-", each.new or "-") for each in found)]
    click.echo("\n".join(aligned(rows)))
    keys = read_keys(keys_path) if keys_path is not None else None
    before = {pool.name: pool for pool in old.pools}

    from memagent.topology import make_placement

    for pool in new.pools:
        if pool.name in before:
            then, now = (Places(each, make_placement(each)) for each in (pool, before[pool.name]))
            moves = count_moves(made_up_keys(sample) if keys is None else keys, now, then)
            kind = "made-up keys" if keys is None else "given keys"
            click.echo(f"\nof {moves.keys} {kind} in the pool {quoted(pool.name)}:\n")
            click.echo("\n".join(aligned(list(_moved(moves, then.pool.has_copies)), right=(0, 1))))


def _moved(moves: Moves, has_copies: bool) -> Iterator[tuple[str, str, str]]:
    counts = [(moves.owners, "get another owner")]
    if moves.machines != moves.owners:
        counts.append((moves.machines, "have their owner on another machine"))
    if has_copies:
        counts.append((moves.copies, "get another copy"))
    counts.append((moves.lost, "are not found again: they miss until they are written anew"))
    for count, text in counts:
        yield str(count), f"{100 * count / max(1, moves.keys):.1f} %", text


def read_keys(path: str) -> list[bytes]:
    """One a line; ConfigError names every line that is no key."""
    name = "standard input" if path == "-" else path
    mistakes = Mistakes(HINT)
    try:
        with click.open_file(path, "rb") as lines:
            keys = list(_good_keys(lines, name, mistakes))
    except OSError as error:
        raise ConfigError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    mistakes.raise_if_any()
    if not keys:
        raise ConfigError(f"{name}: there is no key in it")
    return keys


def _good_keys(lines: Iterable[bytes], name: str, mistakes: Mistakes) -> Iterator[bytes]:
    for number, line in enumerate(lines, start=1):
        key = line.rstrip(b"\r\n")
        problem = problem_of(key) if key else None
        if problem is not None:
            mistakes.note(f"{name}, line {number}", problem)
        elif key:
            yield key
