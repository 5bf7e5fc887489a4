"""magent's own command line and its 0.7 INI file -> Config.

A site that starts magent today starts memagent with the same words: same flags, same defaults, and
every key stays where it was (modula + djb; -k is magent-ketama).

    flags ──────────────┐                                   environment
    -c FILE.conf ───────┴─▶ Flags (text, flags win) ──▶ tree of nodes ──▶ `config` reads it

The environment stands between the two: it wins over the file and magent's defaults, and flags win over it.
Every mistake of one run is reported, and names the flag or the line of the file that it came from.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from memagent.addresses import Address, parse_address, parse_host, parse_listen, parse_port
from memagent.config import Loaded, build
from memagent.layers import Override, lay, mapping, scalar, sequence
from memagent.reading import Mistakes, nearest, read_text
from memagent.rows import read_setting
from memagent.settings import Config, PoolConfig, ServerConfig
from memagent.units import parse_count, parse_switch, quoted

_HINT = "magent --help lists the flags; an example: magent -D -p 12000 -s 10.0.0.1:11211 -s 10.0.0.2:11211"
_LOG_NAME = "magent.log"


@dataclass(frozen=True)
class Given:
    """What somebody wrote for one flag, and where: `-p`, or `magent.conf:3: port`."""

    text: str
    source: str
    line: int = 0

    @property
    def is_flag(self) -> bool:
        return self.source.startswith("-")


@dataclass(frozen=True)
class Flags:
    """magent's command line as it was written. None is a flag that was not given."""

    port: Given | None = None
    host: Given | None = None
    unix_path: Given | None = None
    max_connections: Given | None = None
    max_idle: Given | None = None
    user: Given | None = None
    group: Given | None = None
    log_directory: Given | None = None
    ketama: Given | None = None
    daemon: Given | None = None
    verbose: Given | None = None
    servers: tuple[Given, ...] = field(default=())
    backups: tuple[Given, ...] = field(default=())


# [General]'s keys, and the flags that they stand for
_INI_KEYS = {
    "port": "port",
    "host_ip": "host",
    "maxconns": "max_connections",
    "maxidle": "max_idle",
    "useketama": "ketama",
    "daemon_mode": "daemon",
    "verbose_mode": "verbose",
    "logdir": "log_directory",
    "masters": "servers",
    "backups": "backups",
}
_LISTS = ("servers", "backups")
_DEFAULT = Given("", "magent's default")


def from_flags(
    flags: Flags,
    ini_path: str | None = None,
    environ: Mapping[str, str] | None = None,
    directory: str = os.curdir,
) -> Loaded:
    """The configuration that magent's flags mean, on top of an INI file where one is given.

    `directory` is where relative paths lead from, in the file too, as they did with magent.
    """
    mistakes = Mistakes(_HINT)
    if ini_path is not None:
        below = _read_ini(read_text(ini_path), ini_path, mistakes)
        above = {name: value for name, value in vars(flags).items() if value not in (None, ())}
        flags = Flags(**{**vars(below), **above})
    return _Meaning(flags, mistakes, directory).load(environ)


def from_ini(text: str, name: str) -> Config:
    """The configuration that a 0.7 INI file means by itself."""
    mistakes = Mistakes(_HINT)
    return _Meaning(_read_ini(text, name, mistakes), mistakes).load().config


def _read_ini(text: str, name: str, mistakes: Mistakes) -> Flags:
    found: dict[str, Any] = {}
    section = None
    for line, key, value in _ini_lines(text, name, mistakes):
        where = f"{name}:{line}"
        if value is None:
            section = key
            if section != "General":
                mistakes.note(
                    where, f"unknown section {quoted(f'[{key}]')}: there is only [General]", line=line
                )
        elif section is None:
            mistakes.note(where, f"{quoted(key)} stands before the section [General]", line=line)
        elif section != "General":
            continue
        elif key not in _INI_KEYS:
            mistakes.note(where, f"unknown key {quoted(key)}{nearest(key, _INI_KEYS)}", line=line)
        elif _INI_KEYS[key] in found:
            mistakes.note(where, f"the key {quoted(key)} is there twice", line=line)
        elif _INI_KEYS[key] in _LISTS:
            parts = [part.strip() for part in value.split(",")]
            found[_INI_KEYS[key]] = tuple(Given(part, f"{where}: {key}", line) for part in parts if part)
        else:
            found[_INI_KEYS[key]] = Given(value, f"{where}: {key}", line)
    return Flags(**found)


def _ini_lines(text: str, name: str, mistakes: Mistakes) -> Iterator[tuple[int, str, str | None]]:
    """(line, section, None) or (line, key, value)."""
    for line, raw in enumerate(text.split("\n"), start=1):
        content = raw.strip()
        if not content or content.startswith(("#", ";")):
            continue
        if content.startswith("[") and content.endswith("]"):
            yield line, content[1:-1].strip(), None
            continue
        key, equals, value = content.partition("=")
        if equals:
            yield line, key.strip(), value.strip()
        else:
            mistakes.note(
                f"{name}:{line}", f"{quoted(content)} is neither [section] nor key = value", line=line
            )


class _Meaning:
    """What the flags mean. A method returns None where it noted a mistake."""

    def __init__(self, flags: Flags, mistakes: Mistakes, directory: str = os.curdir) -> None:
        self._flags = flags
        self._mistakes = mistakes
        self._directory = directory
        self._below: list[Override] = []
        self._above: list[Override] = []

    def load(self, environ: Mapping[str, str] | None = None) -> Loaded:
        flags = self._flags
        self._listen()
        self._setting("daemon", flags.daemon or replace(_DEFAULT, text="true"))
        for name in ("verbose", "max_connections", "user", "group"):
            self._setting(name, getattr(flags, name))
        if flags.log_directory is not None:
            path = os.path.join(self._absolute(flags.log_directory.text), _LOG_NAME)
            self._setting("log_file", replace(flags.log_directory, text=path))
        if flags.max_idle is not None:
            # for old start scripts: a worker keeps one pipelined connection to a server, not a stock of them
            self._read(flags.max_idle, parse_count)
        self._pool()
        self._mistakes.raise_if_any()
        return build(lay(mapping("magent's flags"), self._below), self._above, environ)

    def _listen(self) -> None:
        flags = self._flags
        addresses = []
        host = "0.0.0.0" if flags.host is None else self._read(flags.host, parse_host)  # noqa: S104
        port = parse_port("11211") if flags.port is None else self._read(flags.port, _port_or_none)
        if port and host:
            addresses.append(replace(_strongest(flags.port, flags.host), text=str(Address(host, port))))
        if flags.unix_path is not None:
            text = flags.unix_path.text.removeprefix("unix:")
            path = "unix:" + self._absolute(text) if text else "unix:"
            addresses.append(replace(flags.unix_path, text=path))
            self._read(addresses[-1], parse_listen)
        if port == 0 and flags.unix_path is None:
            self._note(flags.port, "0 leaves nothing to listen on: give a port, or a Unix socket with -f")
        self._say_list(("listen",), addresses)

    def _pool(self) -> None:
        flags = self._flags
        ketama = flags.ketama is not None and self._read(flags.ketama, parse_switch)
        texts = {
            "distribution": "magent-ketama" if ketama else "modula",
            "key_hash": "md5" if ketama else "djb",
        }
        if not flags.servers:
            self._mistakes.note(
                "no memcached server: give at least one with -s host:port (in a file: masters)"
            )
            return
        servers = {part: tuple(map(self._server, getattr(flags, part))) for part in _LISTS}
        for conflict in PoolConfig.conflicts({**texts, **servers}):
            part, index, *_ = *conflict.where, 0
            given = getattr(flags, str(part), ())
            self._note(given[index] if given and isinstance(index, int) else None, conflict.text)
        for name, text in texts.items():
            self._say(("pools", "main", name), replace(_strongest(flags.ketama), text=text))
        for part in _LISTS:
            self._say_list(("pools", "main", part), getattr(flags, part))

    def _server(self, given: Given) -> ServerConfig | None:
        if self._read(given, parse_address) is None:
            return None
        return ServerConfig.model_validate(given.text)

    def _absolute(self, path: str) -> str:
        return os.path.abspath(os.path.join(self._directory, path))

    def _setting(self, name: str, given: Given | None) -> None:
        if given is not None:
            self._read(given, partial(read_setting, Config, name))
            self._say((name,), given)

    def _say(self, path: tuple[str, ...], given: Given) -> None:
        layer = self._above if given.is_flag else self._below
        layer.append(Override(path, scalar(given.text, given.source)))

    def _say_list(self, path: tuple[str, ...], given: Sequence[Given]) -> None:
        if not given:
            return
        strongest = _strongest(*given)
        layer = self._above if strongest.is_flag else self._below
        layer.append(
            Override(path, sequence([scalar(each.text, each.source) for each in given], strongest.source))
        )

    def _read(self, given: Given, parse: Callable[[str], Any]) -> Any:
        try:
            return parse(given.text)
        except ValueError as error:
            self._note(given, f"{quoted(given.text)}: {error}")
            return None

    def _note(self, given: Given | None, text: str) -> None:
        self._mistakes.note(given.source if given else "", text, line=given.line if given else 0)


def _strongest(*given: Given | None) -> Given:
    """Who decides where several say a part each: a flag, else the file, else magent's default."""
    return max(filter(None, given), key=lambda each: each.is_flag, default=_DEFAULT)


def _port_or_none(text: str) -> int:
    return 0 if text == "0" else parse_port(text)
