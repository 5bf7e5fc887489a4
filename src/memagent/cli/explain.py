"""`magent explain`: one key, from its hash to what each server has of it."""

import os
import sys

import click

from memagent.cli.looking import find_subject
from memagent.cli.reach import pool_option, print_json, reach_options
from memagent.cli.table import aligned, for_how_long
from memagent.cli.values import TIMEOUT
from memagent.errors import ConfigError
from memagent.inspection.client import FOREVER
from memagent.inspection.explain import Explanation, Found
from memagent.inspection.explain import explain as look_at
from memagent.inspection.keys import HINT, as_text, problem_of, visible
from memagent.inspection.routing import routed
from memagent.units import quoted

_VERDICTS = {
    "agree": "owner and copy agree",
    "missing_copy": "only the owner has it",
    "missing_owner": "only the copy has it",
    "nowhere": "neither has it: never stored, expired, deleted or evicted",
    "no_copy": "this pool keeps no copies",
    "not_known": "not known: a server did not answer",
}


@click.command()
@click.argument("key", metavar="KEY")
@click.option(
    "--timeout", "timeout_s", type=TIMEOUT, default="1s", show_default=True, help="For each server."
)
@pool_option
@reach_options
def explain(
    key: str,
    timeout_s: float,
    pool: str | None,
    socket_path: str | None,
    config_path: str | None,
    as_json: bool,
) -> None:
    """Tell where one KEY belongs, and what is there now.

    Its pool, its hash, its owner, its copy, how they stand and whether they agree. The servers are asked
    directly; the value is compared and never shown. Where they know meta commands (1.6.0 and later),
    looking does not count as a read; but of an item that is marked stale (md with I) it takes the win, as
    any mg does: the next client sees Z and not W. With -c and no running proxy, all but the servers' states
    is told. A key that starts with - goes after --.
    """
    found = explained(key, timeout_s, pool, socket_path, config_path)
    if as_json:
        print_json(found.as_dict())
    else:
        sys.stdout.buffer.write(
            "".join(line + "\n" for line in describe(found)).encode(errors="surrogateescape")
        )
        sys.stdout.flush()


def explained(
    key: str, timeout_s: float, pool: str | None, socket_path: str | None, config_path: str | None
) -> Explanation:
    """`key` as it was typed; ConfigError if none can be so, or no pool takes it."""
    raw = os.fsencode(key)
    problem = problem_of(raw)
    if problem is not None:
        raise ConfigError(problem, HINT)
    subject = find_subject(socket_path, config_path)

    way = routed(subject.config, raw, pool)

    from memagent.topology import make_placement

    return look_at(raw, way, make_placement(way.pool), subject.states(way.pool), timeout_s)


def describe(found: Explanation) -> list[str]:
    """For people; a key's bytes that are no UTF-8 are surrogates."""
    lines = [
        f"key     {visible(as_text(found.key))}",
        *_way(found),
        f"hash    {found.hash_value} (0x{found.hash_value:08x}), {found.key_hash}",
        f"pool    {found.pool}, {found.distribution}",
        "",
    ]
    rows: list[tuple[str, ...]] = [
        ("", "NAME", "ADDRESS", "STATE", "PRESENT", "SIZE", "FLAGS", "TTL LEFT", "CAS")
    ]
    rows += [_row("decides" if found.moving else "owner", found.owner)]
    if found.copy is not None:
        rows += [_row("other" if found.moving else "copy", found.copy)]
    lines += aligned(rows, right=(5, 6, 7, 8))
    lines += [
        f"{found_at.holder.name}: {found_at.problem}"
        for found_at in (found.owner, found.copy)
        if found_at is not None and found_at.problem
    ]
    if found.verdict == "differ":
        verdict = f"owner and copy DIFFER in {', '.join(found.differs_in)}"
    else:
        verdict = _VERDICTS[found.verdict]
    if found.moving:
        verdict = "it moves from one of these servers to the other (magent migration)"
    if not found.reachable:
        return [*lines, "", verdict, "no client reaches it in this pool: its prefix leads to another one"]
    return [*lines, "", verdict]


def _way(found: Explanation) -> list[str]:
    if not found.prefix:
        return []
    stripped = (
        f", its servers know the key as {visible(as_text(found.stored))}" if found.stored != found.key else ""
    )
    return [f"route   {quoted(found.prefix)}{stripped}"]


def _row(what: str, found: Found) -> tuple[str, ...]:
    start = (what, found.holder.name, str(found.holder.address), found.state or "not known")
    item = found.item
    if item is None:
        return (*start, "not known" if found.problem else "no", "-", "-", "-", "-")
    return (
        *start,
        "stale" if item.is_stale else "yes",
        f"{item.size_bytes:,}",
        str(item.flags),
        _ttl(item.ttl_s),
        "-" if item.cas is None else str(item.cas),
    )


def _ttl(ttl_s: int | None) -> str:
    if ttl_s is None:
        return "not known"
    return "for ever" if ttl_s == FOREVER else for_how_long(ttl_s)
