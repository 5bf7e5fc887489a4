"""`magent bench`: arguments -> one measurement, live on a terminal, as a table or as JSON."""

import json
import sys
from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from memagent._bench.generator import Generator
from memagent._bench.job import Job, Outcome, Progress, run
from memagent._bench.workload import VERBS
from memagent.cli.table import roughly
from memagent.cli.values import COUNT, SECONDS, unit
from memagent.errors import ConfigError, MemagentError
from memagent.units import parse_bytes


def _mix(text: str) -> dict[str, float]:
    shares: dict[str, float] = {}
    for part in text.split(","):
        verb, equals, share = part.strip().partition("=")
        if verb not in VERBS:
            raise ValueError(f"{verb!r} is none of {', '.join(VERBS)}: write --mix get=9,set=1")
        if verb in shares:
            raise ValueError(f"{verb} stands there twice")
        try:
            shares[verb] = float(share) if equals else 1.0
        except ValueError:
            raise ValueError(f"the share of {verb} must be a number, not {share!r}") from None
    return shares


def _value_size(text: str) -> tuple[str, int, int]:
    shape, colon, rest = text.partition(":")
    if colon and shape != "lognormal":
        raise ValueError("write a size, LEAST-MOST, or lognormal:MEDIAN[-MOST]")
    body = rest if colon else text
    low, dash, high = body.partition("-")
    least = parse_bytes(low)
    most = parse_bytes(high) if dash else (least * 100 if colon else least)
    return (shape if colon else "range" if dash else "fixed"), least, most


@click.command(context_settings={"show_default": True})
@click.argument("target")
@click.option("-c", "--clients", type=COUNT, default="50", help="Connections.")
@click.option("-d", "--depth", type=COUNT, default="1", help="Requests that each client keeps in flight.")
@click.option(
    "--mix", type=unit("verbs", _mix), default="get=9,set=1", help=f"Verbs and shares: {', '.join(VERBS)}."
)
@click.option("-k", "--keys", type=COUNT, default="10000", help="Number of different keys.")
@click.option("--key-prefix", default="bench-", help="What every key begins with.")
@click.option("--key-bytes", type=COUNT, default="20", help="Length of a key, prefix included.")
@click.option(
    "--value-size",
    type=unit("size", _value_size),
    default="100",
    help="Bytes of a value: SIZE, LEAST-MOST (uniform), or lognormal:MEDIAN[-MOST].",
)
@click.option("--multiget", type=COUNT, default="1", help="Keys in each get or gets.")
@click.option("--zipf", type=float, default=0.0, help="Skew of the keys' popularity; 0 is uniform.")
@click.option("--preload/--no-preload", default=True, help="Set every key first.")
@click.option("-t", "--duration", type=SECONDS, help="Measured time.  [default: 10s; 10m with --requests]")
@click.option("--warmup", type=SECONDS, default="1s", help="Load before the measurement, not counted.")
@click.option("-n", "--requests", type=COUNT, default="0", help="Stop after this many; 0: by time alone.")
@click.option(
    "--rate",
    type=float,
    default=0.0,
    help="Open loop: requests a second in total, latency from the intended moment. 0: closed loop.",
)
@click.option("--timeout", type=SECONDS, default="5s", help="A later reply is lost, its client reconnects.")
@click.option("--seed", type=COUNT, default="1", help="Of the choice of verbs and keys.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of the table.")
def bench(
    target: str,
    value_size: tuple[str, int, int],
    duration: float | None,
    warmup: float,
    timeout: float,
    as_json: bool,
    **rest: Any,
) -> None:
    """Load TARGET (HOST:PORT, [V6]:PORT or unix:/PATH) and measure it.

    Every reply is checked: that it answers the request, and that a value is the one that belongs to its key.
    Values under keys with the prefix are overwritten.
    """
    shape, least, most = value_size
    job = Job(
        target=target,
        value_shape=shape,
        value_bytes=least,
        value_bytes_max=most if shape != "fixed" else 0,
        duration_s=duration if duration is not None else 600.0 if rest["requests"] else 10.0,
        warmup_s=warmup,
        timeout_s=timeout,
        **rest,
    )
    errors = Console(stderr=True)
    try:
        job.check()
        outcome = _watched(job, errors) if errors.is_terminal else run(job)
    except ConfigError as error:
        raise click.UsageError(error.message) from error
    except MemagentError as error:
        click.echo(f"magent bench: {error.message}" + (f" ({error.hint})" if error.hint else ""), err=True)
        sys.exit(error.exit_code)
    if as_json:
        click.echo(json.dumps(outcome.as_dict()))
    else:
        _print_table(outcome, Console())
    if not outcome.complete:
        sys.exit(130)


def _watched(job: Job, console: Console) -> Outcome:
    with Live(Text("connecting"), console=console, refresh_per_second=4, transient=True) as live:
        return run(job, _progress(job, live))


def _progress(job: Job, live: Live) -> Progress:
    before = [0, 0.0]

    def show(generator: Generator, phase: str) -> None:
        if phase == "preload":
            state = generator.preload_state()
            live.update(Text(f"preload    {state['stored']:,} of {state['keys']:,} keys"))
            return
        if phase == "warming":
            live.update(Text("warm-up"))
            return
        counts, elapsed_s = generator.counts(), generator.elapsed_s()
        passed_s = elapsed_s - before[1]
        rate = (counts["requests"] - before[0]) / passed_s if passed_s > 0 else 0.0
        before[:] = [counts["requests"], elapsed_s]
        latency = generator.checker.latency
        live.update(
            Text(
                f"{elapsed_s:.1f}/{job.duration_s:g} s  {rate:,.0f}/s"
                f"  p50 {latency.percentile_us(50):,.0f} us  p99 {latency.percentile_us(99):,.0f} us"
                f"  {counts['misses']:,} misses  {sum(counts['errors'].values()):,} errors",
                no_wrap=True,
                overflow="ellipsis",
            )
        )

    return show


def _print_table(outcome: Outcome, console: Console) -> None:
    counts = outcome.counts
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    rows = [
        ("requests/s", f"{outcome.throughput:,.0f}"),
        ("requests", f"{counts['requests']:,} in {outcome.elapsed_s:.2f} s"),
        ("in / out", f"{roughly(counts['bytes_in'])} / {roughly(counts['bytes_out'])}"),
        *((f"{name} latency", f"{value:,.0f} us") for name, value in outcome.latency_us.items()),
        ("hits / misses", f"{counts['hits']:,} / {counts['misses']:,}"),
        ("stored / not stored", f"{counts['stored']:,} / {counts['not_stored']:,}"),
        *((name.replace("_", " "), f"{n:,}") for name, n in counts["errors"].items() if n),
    ]
    if outcome.preload_keys:
        failed = outcome.preload_keys - outcome.preload_stored
        rows.append(("preloaded", f"{outcome.preload_stored:,}" + (f", {failed:,} failed" if failed else "")))
    for name, value in rows:
        table.add_row(name, value)
    console.print(table)
    for what in ("error_sample", "mismatch_sample"):
        if counts[what]:
            console.print(f"first {what.removesuffix('_sample')}: {counts[what]!r}", markup=False)
    if not outcome.complete:
        console.print("interrupted: these are the numbers until then")
