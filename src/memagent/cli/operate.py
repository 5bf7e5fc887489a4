"""`magent drain`, `magent undrain`, `magent replace`: take servers out of service and back, orderly."""

import dataclasses
from typing import Any

import click

from memagent.addresses import parse_address
from memagent.cli.reach import print_json, reach_options, server_argument, talk, which
from memagent.cli.running import RunningProxy
from memagent.errors import ConfigError
from memagent.snapshot import ServerSnapshot
from memagent.units import quoted

_force = click.option(
    "--force", is_flag=True, help="Even if keys are left without a live copy: their cache is lost."
)
_no_wait = click.option("--no-wait", is_flag=True, help="Return at once; `magent servers` shows how it goes.")


@click.command()
@server_argument
@_force
@_no_wait
@reach_options
def drain(
    server: str,
    pool: str | None,
    role: str | None,
    socket_path: str | None,
    config_path: str | None,
    as_json: bool,
    **given: bool,
) -> None:
    """Take SERVER out of service: reads and writes go to its copies.

    SERVER is a name or an address, as `magent servers` shows them. Requests under way are answered first.
    It stays out, through its restart too, until `magent undrain`.
    """
    words = {**which(server, pool, role), "force": given["force"], "wait": not given["no_wait"]}
    with RunningProxy.find(socket_path, config_path) as proxy:
        found, _ = follow(proxy, "drain", words)
    _tell(found, as_json, f"magent undrain {server} takes it back into service")


@click.command()
@server_argument
@_no_wait
@reach_options
def undrain(
    server: str,
    pool: str | None,
    role: str | None,
    no_wait: bool,
    socket_path: str | None,
    config_path: str | None,
    as_json: bool,
) -> None:
    """Take a drained SERVER back into service.

    What was written meanwhile is set right there before it is asked for anything; if it has been restarted,
    it is refilled from its copies.
    """
    words = {**which(server, pool, role), "wait": not no_wait}
    with RunningProxy.find(socket_path, config_path) as proxy:
        found, _ = follow(proxy, "undrain", words)
    _tell(found, as_json)


@click.command()
@server_argument
@click.argument("address", metavar="NEW-ADDRESS")
@click.option(
    "--keep-data",
    is_flag=True,
    help="Leave what the new machine already holds, such as a copy of the old one; else it is flushed.",
)
@_force
@_no_wait
@reach_options
def replace(
    server: str,
    address: str,
    pool: str | None,
    role: str | None,
    socket_path: str | None,
    config_path: str | None,
    as_json: bool,
    **given: bool,
) -> None:
    """Put the machine at NEW-ADDRESS in the place of SERVER.

    The ring does not move: the new machine owns the keys of the old one, and is filled from their copies
    before it answers alone. Write the new address into the configuration file too, and keep the name: the
    running proxy does not change its file.
    """
    try:
        parse_address(address)
    except ValueError as error:
        raise ConfigError(f"NEW-ADDRESS: {quoted(address)}: {error}") from None
    words = {
        **which(server, pool, role),
        "address": address,
        "force": given["force"],
        "keep_data": given["keep_data"],
        "wait": not given["no_wait"],
    }
    with RunningProxy.find(socket_path, config_path) as proxy:
        found, answer = follow(proxy, "replace", words)
    _tell(found, as_json, str(answer.get("text") or ""))


def follow(proxy: RunningProxy, verb: str, words: dict[str, Any]) -> tuple[ServerSnapshot, dict[str, Any]]:
    """Ask, tell of each change of state, and return the server as it is at the end."""
    told = ""
    for step in proxy.follow(verb, **words):
        if isinstance(step, dict):
            return proxy.server(step), step
        now = _progress(step)
        if now != told:
            talk(now)
            told = now
    raise AssertionError("an answer has a last line")


def _progress(server: ServerSnapshot) -> str:
    if server.state == "draining":
        requests = "request" if server.in_flight == 1 else "requests"
        return f"{server.name}: draining, {server.in_flight:,} {requests} under way"
    if server.state == "returning" and server.journal_keys:
        return f"{server.name}: returning, {server.journal_keys:,} keys to be set right"
    if server.state == "warming" and server.warm is not None:
        # in tens: a line for every second tells nobody more
        return f"{server.name}: warming, {server.warm.per_cent // 10 * 10:.0f} %"
    return f"{server.name}: {server.state}"


def _tell(server: ServerSnapshot, as_json: bool, remark: str = "") -> None:
    if as_json:
        print_json(dataclasses.asdict(server))
        return
    role = "backup" if server.backup else "server"
    click.echo(f"{role} {server.name} ({server.address}) is {server.state}")
    if remark:
        talk(remark)
