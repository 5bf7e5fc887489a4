"""`magent verify`: do owner and copy agree? A sample says."""

import random
import secrets
import sys
from collections.abc import Callable

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from memagent.cli.looking import find_subject
from memagent.cli.reach import pool_option, print_json, reach_options, talk
from memagent.cli.table import aligned
from memagent.cli.values import COUNT, TIMEOUT, between, unit
from memagent.errors import ConfigError, ServerError
from memagent.inspection.comparing import Finding
from memagent.inspection.keys import visible
from memagent.inspection.places import Places
from memagent.inspection.routing import pool_of
from memagent.inspection.verify import Progress, Report
from memagent.inspection.verify import verify as compare
from memagent.units import parse_count

_FINDINGS: tuple[tuple[Finding, str], ...] = (
    ("agree", "agree"),
    ("missing_copy", "missing on the copy"),
    ("missing_owner", "missing on the owner"),
    ("differ", "differ"),
)


@click.command(context_settings={"show_default": True})
@click.option(
    "--keys",
    "count",
    type=unit("count", between(1, 1_000_000, parse_count)),
    default="1000",
    help="How many to compare.",
)
@click.option(
    "--rate",
    type=unit("count", between(1, 1_000_000, parse_count)),
    default="1000",
    help="Most keys a second; and never more than 32 MiB of values a second.",
)
@click.option("--timeout", "timeout_s", type=TIMEOUT, default="1s", help="For each question to a server.")
@click.option("--seed", type=COUNT, help="Of the choice of keys.  [default: another one each time]")
@pool_option
@reach_options
def verify(
    count: int,
    rate: int,
    timeout_s: float,
    seed: int | None,
    pool: str | None,
    socket_path: str | None,
    config_path: str | None,
    as_json: bool,
) -> int:
    """Compare the copies of some keys, chosen by chance on every server.

    The servers are asked directly: value, flags and time to live must be the same on owner and copy. A key
    that differs is looked at again, so that writes under way do not count. A server that is out of service is
    not compared. Values are never shown. The exit code is 1 if any key differs. A missing copy is no fault:
    servers evict. Of an item that is marked stale (md with I) a look takes the win, as any mg does.
    """
    subject = find_subject(socket_path, config_path)
    chosen = pool_of(subject.config, pool)
    if not chosen.has_copies:
        raise ConfigError(
            f'pool "{chosen.name}" keeps no copies: there is nothing to compare',
            "give it backups, or copies: 2",
        )

    from memagent.topology import make_placement

    places = Places(chosen, make_placement(chosen))
    states = subject.states(chosen)
    used_seed = secrets.randbits(32) if seed is None else seed
    chance = random.Random(used_seed)  # noqa: S311 - a sample is no secret
    report = _watched(
        lambda progress: compare(places, count, rate, timeout_s, chance, progress, states=states)
    )
    if not report.compared and report.problems:
        raise ServerError(
            "nothing could be compared: "
            + "; ".join(f"{server}: {why}" for server, why in report.problems.items())
        )
    if as_json:
        print_json({**report.as_dict(), "seed": used_seed})
    else:
        _print(report)
    return 1 if report.counts["differ"] else 0


def _watched(comparison: Callable[[Progress], Report]) -> Report:
    console = Console(stderr=True)
    if not console.is_terminal:
        return comparison(lambda what, done, of: None)
    with Live(Text("listing keys"), console=console, refresh_per_second=4, transient=True) as live:
        return comparison(_progress(live))


def _progress(live: Live) -> Progress:
    def show(what: str, done: int, of: int) -> None:
        live.update(Text(f"{what}: {done:,} of {of:,}"))

    return show


def _print(report: Report) -> None:
    click.echo(f"{report.compared:,} keys compared in {report.seconds:.1f} s")
    rows = [
        (f"  {text}", f"{report.counts[finding]:,}", f"{100 * report.share(finding):.2f} %")
        for finding, text in _FINDINGS
    ]
    click.echo("\n".join(aligned(rows, right=(1, 2))))
    for text, number in (
        ("were deleted or expired meanwhile", report.counts["gone"]),
        ("went on changing while they were looked at", report.counts["changing"]),
        ("could not be asked for", report.not_asked),
        ("were compared without their time to live, which old servers do not tell", report.ttl_unknown),
        ("were listed by a server that neither owns nor copies them", report.strays),
        ("have names that only base64 can spell, and were left out", report.unspeakable),
    ):
        if number:
            click.echo(f"{number:,} {text}")
    for server, why in report.problems.items():
        talk(f"{server}: {why}")
    if report.examples:
        click.echo()
        _print_examples(report)


def _print_examples(report: Report) -> None:
    rows = [("KEY", "FINDING", "OWNER", "COPY", "DIFFERS IN")]
    names = dict(_FINDINGS)
    rows += [
        (visible(each.key), names[each.finding], each.owner, each.copy, ", ".join(each.differs_in) or "-")
        for each in report.examples
    ]
    text = "".join(line + "\n" for line in aligned(rows))
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode(errors="surrogateescape"))
    sys.stdout.flush()
