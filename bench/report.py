"""Results as text, as Markdown and as JSON, with the machine and the versions that they were measured on."""

import datetime
import json
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.rig import MissingError, new_memcached, program

if TYPE_CHECKING:
    from bench.compare import Result

RESULTS = Path(__file__).resolve().parent / "results"


def scenario_text(result: "Result") -> str:
    lines = [f"{result.scenario.name}: {result.scenario.meaning}"]
    for name in result.rounds:
        user, system = result.median(name, "user_us"), result.median(name, "system_us")
        lines.append(
            f"  {name:<15} {result.median(name, 'cpu_us'):8.2f} us/request"
            f" (user {user:7.2f} system {system:7.2f})"
            f"  {result.median(name, 'requests_per_s'):9,.0f}/s  p50 {result.median(name, 'p50_us'):7,.0f}"
            f"  p99 {result.median(name, 'p99_us'):7,.0f} us"
            f"  others {result.median(name, 'others_share'):4.0%}"
            f"  errors {sum(one.errors for one in result.rounds[name])}"
        )
    for what, ratio, aim in _ratios(result):
        lines.append(
            f"  {what}: {ratio['median']:.3f}  (rounds {ratio['least']:.3f} to {ratio['most']:.3f})"
            + (f"  aim {aim}" if aim else "")
        )
    lines += [f"  {name} FAILED: {why}" for name, why in result.failures.items()]
    return "\n".join(lines)


def _ratios(result: "Result") -> Iterator[tuple[str, dict[str, float], str]]:
    """(what is compared, the ratio, whether its aim is reached) of those pairs that were measured."""
    for pair in result.scenario.compared:
        ratio = result.ratio(pair.ours, pair.base, pair.figure)
        if ratio:
            what = "CPU" if pair.figure == "cpu_us" else pair.figure.removesuffix("_us") + " latency"
            aim = "" if pair.most is None else against(pair.most, ratio["median"])
            yield f"{what}, {pair.ours} / {pair.base}", ratio, aim


def against(most: float, figure: float) -> str:
    return f"{most:,.4g}: {'reached' if figure <= most else 'NOT reached'}"


def markdown(results: list["Result"], about: dict[str, Any]) -> str:
    lines = [f"# {about['date']}", ""]
    lines += [f"- {name}: {value}" for name, value in about.items() if name != "date"]
    lines += [
        "",
        "CPU is microseconds per request of the target's processes, user + system. Ratios are the median of",
        "the rounds, with the least and the most. `others` is what anybody else took of the target's core.",
        "",
        "| scenario | target | CPU us | user | system | requests/s | p50 us | p99 us | others |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for result in results:
        for name in result.rounds:
            figures = [result.median(name, f) for f in ("cpu_us", "user_us", "system_us")]
            lines.append(
                f"| {result.scenario.name} | {name} | "
                + " | ".join(f"{figure:.2f}" for figure in figures)
                + f" | {result.median(name, 'requests_per_s'):,.0f} | {result.median(name, 'p50_us'):,.0f}"
                f" | {result.median(name, 'p99_us'):,.0f} | {result.median(name, 'others_share'):.0%} |"
            )
    lines += ["", "| scenario | what | ratio | rounds | aim |", "|---|---|--:|---|---|"]
    for result in results:
        for what, ratio, aim in _ratios(result):
            lines.append(
                f"| {result.scenario.name} | {what} | {ratio['median']:.3f}"
                f" | {ratio['least']:.3f} to {ratio['most']:.3f} | {aim} |"
            )
    failures = [(r.scenario.name, name, why) for r in results for name, why in r.failures.items()]
    lines += ["", *(f"- {scenario}, {name}: not measured: {why}" for scenario, name, why in failures)]
    return "\n".join(lines).rstrip() + "\n"


def about(rounds: int, seconds: float) -> dict[str, Any]:
    now = datetime.datetime.now(datetime.UTC)
    return {
        "date": now.strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{os.cpu_count()} cores, {_cpu_model()}, kernel {platform.release()}",
        "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
        "method": f"{rounds} rounds of {seconds:g} s in turns; targets on core 1, everything else on core 0",
    }


def versions() -> dict[str, str]:
    import memagent

    found = {"memagent": getattr(memagent, "__version__", "?"), "python": platform.python_version()}
    found["memcached"] = version_of("memcached")
    found["twemproxy"] = version_of("nutcracker")
    try:
        found["memcached's proxy"] = version_of(new_memcached())
    except MissingError:
        found["memcached's proxy"] = "missing"
    return found


def stamp(facts: dict[str, Any]) -> str:
    return re.sub(r"[^0-9]+", "-", facts["date"]).strip("-")


def save(results: list["Result"], rounds: int, seconds: float, name: str = "compare") -> list[Path]:
    RESULTS.mkdir(exist_ok=True)
    facts = about(rounds, seconds)
    data = {**facts, "scenarios": {result.scenario.name: result.as_dict() for result in results}}
    paths = [RESULTS / f"{stamp(facts)}-{name}.json", RESULTS / f"{stamp(facts)}-{name}.md"]
    paths[0].write_text(json.dumps(data, indent=1) + "\n")
    paths[1].write_text(markdown(results, facts))
    return paths


def version_of(command: str) -> str:
    try:
        done = subprocess.run([program(command), "-V"], capture_output=True, text=True, check=False)
    except MissingError:
        return "missing"
    found = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
    return found[0] if found else "?"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
