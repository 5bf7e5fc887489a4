"""magent's flags as click options, and what they and -c mean together."""

import os
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, TypeVar

import click

from memagent import config, environment, legacy
from memagent.config import Loaded
from memagent.errors import ConfigError
from memagent.layers import Override, scalar
from memagent.legacy import Flags, Given
from memagent.settings import Config

_Command = TypeVar("_Command", bound=Callable[..., Any])

_INI_ENDINGS = (".conf", ".ini")
_YAML_ENDINGS = (".yaml", ".yml", ".json")
_NOTHING = "no configuration: give a file, or set MEMAGENT_POOLS__MAIN__SERVERS=HOST:PORT,..."

# (flag, parameter, placeholder or None for a switch, help)
MAGENT_FLAGS: tuple[tuple[str, str, str | None, str], ...] = (
    ("-s", "servers", "HOST:PORT", "A memcached server; repeat it for each. The port is 11211 if left out."),
    ("-b", "backups", "HOST:PORT", "A backup server, which holds a second copy; repeat it for each."),
    (
        "-k",
        "ketama",
        None,
        "Spread keys with magent 0.7's ketama, so that adding a server moves few of them.",
    ),
    ("-l", "host", "HOST", "Address to listen on.  [default: 0.0.0.0]"),
    ("-p", "port", "PORT", "TCP port to listen on, 0 for none.  [default: 11211]"),
    ("-f", "unix_path", "PATH", "Unix socket to listen on."),
    ("-n", "max_connections", "NUMBER", "Most client connections.  [default: 4096]"),
    ("-D", "foreground", None, "Stay in the foreground; without it magent is a daemon."),
    ("-u", "user", "USER", "User to run as, after the ports are open."),
    ("-g", "group", "GROUP", "Group to run as."),
    ("-v", "verbose", None, "Log more."),
    (
        "-i",
        "max_idle",
        "NUMBER",
        "Accepted and without effect: each worker keeps one connection, pipelined, to each server.",
    ),
)
_LISTS = ("servers", "backups")


def magent_flags(*shown: str) -> Callable[[_Command], _Command]:
    """All of magent's flags but -c and -h; the help lists those that are `shown`, all if none is named."""

    def add(command: _Command) -> _Command:
        for flag, name, placeholder, text in reversed(MAGENT_FLAGS):
            look: dict[str, Any] = {"help": text, "hidden": bool(shown) and flag not in shown}
            if placeholder is None:
                option = click.option(flag, name, is_flag=True, **look)
            else:
                option = click.option(flag, name, metavar=placeholder, multiple=name in _LISTS, **look)
            command = option(command)
        return command

    return add


def to_flags(given: dict[str, Any]) -> Flags:
    """Click's values, by the names above, as `legacy` wants them."""
    values: dict[str, Any] = {}
    for flag, name, placeholder, _ in MAGENT_FLAGS:
        value = given.get(name)
        if name in _LISTS:
            values[name] = tuple(Given(text, flag) for text in value or ())
        elif placeholder is not None:
            values[name] = None if value is None else Given(value, flag)
        elif value:
            # -D says no to a setting that the INI file and Config call daemon
            target, text = ("daemon", "false") if name == "foreground" else (name, "true")
            values[target] = Given(text, flag)
    return Flags(**values)


def working_directory() -> str:
    """What relative paths lead from; a daemon has another one when it reads its configuration again."""
    try:
        return os.getcwd()
    except OSError:
        # It has been removed: no relative path leads anywhere.
        return os.sep


def load_magent(path: str | None, flags: Flags, way_out: str, directory: str = os.curdir) -> Loaded:
    """What magent's own command line means: flags, on top of its INI file if there is one."""
    if path is not None and _ending(path) in _YAML_ENDINGS:
        raise ConfigError(f"-c: {path}: among magent's flags, -c reads magent's INI file", way_out)
    return legacy.from_flags(flags, path, os.environ, directory)


def warned(loaded: Loaded) -> Loaded:
    """Its warnings go to standard error."""
    for warning in loaded.warnings:
        click.echo(f"magent: {click.style('warning', fg='yellow')}: {warning}", err=True)
    return loaded


def load_whole(path: str | None, foreground: bool = False, verbose: bool = False) -> Loaded:
    """As `read_whole`; warnings go to standard error."""
    return warned(read_whole(path, foreground, verbose))


def read_whole(
    path: str | None, foreground: bool = False, verbose: bool = False, directory: str = os.curdir
) -> Loaded:
    """A configuration file, YAML or by its ending magent's INI, and the environment; or that alone."""
    if path is None and not environment.is_given(os.environ):
        raise ConfigError(_NOTHING, "magent --help; conf/ has examples")
    if path is not None and _ending(path) in _INI_ENDINGS:
        flags = to_flags({"foreground": foreground, "verbose": verbose})
        return legacy.from_flags(flags, path, os.environ, directory)
    overrides = [Override(("daemon",), scalar("false", "-D"))] if foreground else []
    if verbose:
        overrides.append(Override(("verbose",), scalar("true", "-v")))
    return config.load(path, overrides, os.environ)


def load_any(path: str | None, foreground: bool = False, verbose: bool = False) -> Config:
    return load_whole(path, foreground, verbose).config


def _ending(path: str) -> str:
    return PurePath(path).suffix.lower()
