"""What `magent check --diff` prints: settings and servers that change, and keys that move."""

from collections.abc import Iterable, Iterator

import click

from memagent.cli.table import aligned
from memagent.differences import changes
from memagent.errors import ConfigError
from memagent.inspection.keys import HINT, problem_of
from memagent.inspection.moves import Moves, count_moves, made_up_keys
from memagent.inspection.places import Places
from memagent.inspection.routing import routed
from memagent.reading import Mistakes
from memagent.settings import Config
from memagent.units import quoted


def compare(old: Config, new: Config, old_name: str, keys_path: str | None, sample: int) -> None:
    """Print what `new` changes. Keys are those of a file, or made up."""
    from memagent.migration import settled, will_move
    from memagent.topology import make_placement

    old = settled(old)
    found = list(changes(old, new))
    if not found:
        click.echo(f"nothing changes against {old_name}")
        return
    click.echo(f"changes against {old_name}:\n")
    head = ("WHAT", "NOW", "THEN")
    click.echo(
        "\n".join(aligned([head, *((each.where, each.old or "-", each.new or "-") for each in found)]))
    )
    keys = read_keys(keys_path) if keys_path is not None else None
    before = {pool.name: pool for pool in old.pools}
    staying, elsewhere = _by_pool(keys or [], old, new)

    for pool in new.pools:
        if pool.name in before:
            then, now = (Places(each, make_placement(each)) for each in (pool, before[pool.name]))
            known = made_up_keys(sample) if keys is None else staying.get(pool.name, [])
            moves = count_moves(known, now, then)
            kind = "made-up keys" if keys is None else "given keys"
            click.echo(f"\nof {moves.keys} {kind} in the pool {quoted(pool.name)}:\n")
            is_copied = will_move(before[pool.name], pool)
            rows = list(_moved(moves, then.pool.has_copies, is_copied))
            click.echo("\n".join(aligned(rows, right=(0, 1))))
    if elsewhere:
        click.echo(f"\n{elsewhere} of {len(keys or [])} given keys get another pool, another prefix or none")


def _by_pool(keys: list[bytes], old: Config, new: Config) -> tuple[dict[str, list[bytes]], int]:
    """Keys as their pool's servers know them, by pool, and how many are not where they were."""
    found: dict[str, list[bytes]] = {}
    elsewhere = 0
    for key in keys:
        before, after = (_way(config, key) for config in (old, new))
        if before != after:
            elsewhere += 1
        elif after is not None:
            found.setdefault(after[0], []).append(after[1])
    return found, elsewhere


def _way(config: Config, key: bytes) -> tuple[str, bytes] | None:
    try:
        way = routed(config, key)
    except ConfigError:
        return None
    return way.pool.name, way.stored


def _moved(moves: Moves, has_copies: bool, is_copied: bool) -> Iterator[tuple[str, str, str]]:
    counts = [(moves.owners, "get another owner")]
    if moves.machines != moves.owners:
        counts.append((moves.machines, "have their owner on another machine"))
    if has_copies:
        counts.append((moves.copies, "get another copy"))
    lost = "are not found again: they miss until they are written anew"
    counts.append((moves.lost, "are copied by a reload (on_change: migrate)" if is_copied else lost))
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
