"""Environment variables -> settings that win over the file.

    MEMAGENT_WORKERS=4                                  a setting at the root
    MEMAGENT_LISTEN="127.0.0.1:11211,unix:/run/x"       a list, by comma
    MEMAGENT_POOLS__MAIN__SERVERS="a:11211,b:11211"     a setting of the pool "main"
    MEMAGENT_POOLS__MAIN__SERVERS='{address: "a:1", weight: 2}, b'    as in YAML, where a { is in it

A pool that the file has is found by its name in any case, with _ for whatever is no letter and no digit;
another one is made, named in lower case. A name that begins with MEMAGENT_ and is no setting is a mistake.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from yaml import Node

from memagent.errors import ConfigError
from memagent.layers import Override, compose, scalar, sequence
from memagent.reading import Mistakes, closest
from memagent.rows import Setting, secret_of, settings_of
from memagent.settings import Config, PoolConfig, Table
from memagent.units import quoted

PREFIX: Final = "MEMAGENT_"
_POOLS: Final = "POOLS__"

# Ours, but no settings: the test-suite's and the build's.
_RESERVED: Final = re.compile(r"MEMAGENT_(TEST_.*|TRACE|SANITIZE)")

# Kubernetes tells every container of each Service beside it: one named memagent makes these.
_SERVICE: Final = re.compile(
    r"MEMAGENT_(?!POOLS__)(.*_)?(SERVICE_(HOST|PORT(_.+)?)|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_LINK: Final = re.compile(r"MEMAGENT_(.*_)?PORT=(tcp|udp|sctp)://.*", re.DOTALL)


def is_given(environ: Mapping[str, str]) -> bool:
    """Does the environment say anything about the configuration, be it wrong?"""
    return any(_ours(environ))


def read(environ: Mapping[str, str], pools: Iterable[str], mistakes: Mistakes) -> list[Override]:
    """What the environment says, given the names of the pools that are there already."""
    by_name: dict[str, list[str]] = {}
    for pool in pools:
        by_name.setdefault(_matched(pool), []).append(pool)
    found: dict[tuple[str, ...], tuple[str, Node]] = {}
    for variable, text in _ours(environ):
        try:
            path, row = _meant(variable.removeprefix(PREFIX), by_name)
            if path in found:
                raise ValueError(f"{found[path][0]} says it already")
            found[path] = variable, _node(row, text, variable)
        except ValueError as error:
            mistakes.note(variable, str(error))
        except ConfigError as error:
            mistakes.note(error.message)
    return [Override(path, node) for path, (_, node) in found.items()]


def variable_of(path: tuple[str, ...]) -> str:
    """The variable of a setting at the root, or of a pool."""
    return PREFIX + "__".join(re.sub(r"\W", "_", step).upper() for step in path)


def _ours(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, text in sorted(environ.items()):
        foreign = (
            _RESERVED.fullmatch(name) or _SERVICE.fullmatch(name) or _SERVICE_LINK.fullmatch(f"{name}={text}")
        )
        if name.startswith(PREFIX) and not foreign:
            yield name, text


def _meant(name: str, pools: Mapping[str, list[str]]) -> tuple[tuple[str, ...], Setting]:
    """The setting that a variable, less its prefix, stands for."""
    if not name.startswith(_POOLS):
        row = _row(Config, name)
        if row is None or row.name == "pools":
            raise ValueError(f"no such setting{_home_of(name.lower())}")
        return (name.lower(),), row
    pool, separator, setting = name.removeprefix(_POOLS).rpartition("__")
    if not (pool and separator):
        raise ValueError(f"names no pool: write {PREFIX}{_POOLS}NAME__SETTING")
    row = _row(PoolConfig, setting)
    if row is None:
        nearest = closest(setting, settings_of(PoolConfig))
        raise ValueError("no such setting" + _suggest(("pools", pool, nearest) if nearest else None))
    named = pools.get(_matched(pool), [pool.lower()])
    if len(named) > 1:
        both = " and ".join(map(quoted, named))
        raise ValueError(f"may mean the pools {both}: rename one, or change it in the file")
    return ("pools", named[0], setting.lower()), row


def _row(model: type[Table], name: str) -> Setting | None:
    """The row that a name in capitals stands for, a secret's by its `_FILE` too."""
    rows = settings_of(model)
    setting = name.lower()
    return rows.get(secret_of(model, setting) or setting) if name.isupper() else None


def _home_of(setting: str) -> str:
    if setting in settings_of(PoolConfig):
        return f" (it belongs in a pool: {variable_of(('pools', 'main', setting))})"
    if setting == "pools":
        return f" (pools are given by setting: {variable_of(('pools', 'main', 'servers'))})"
    nearest = closest(setting, settings_of(Config))
    return _suggest((nearest,) if nearest else None)


def _suggest(path: tuple[str, ...] | None) -> str:
    return f' (did you mean "{variable_of(path)}"?)' if path else ""


def _matched(pool: str) -> str:
    return re.sub(r"\W", "_", pool).casefold()


def _node(row: Setting, text: str, variable: str) -> Node:
    if not row.many:
        return scalar(text, variable)
    if "{" not in text:
        parts = [part.strip() for part in text.split(",")]
        return sequence([scalar(part, variable) for part in parts if part], variable)
    whole = text.strip()
    inside = whole[1:-1] if whole.startswith("[") and whole.endswith("]") else whole
    node = compose(f"[{inside}]", variable, numbered=False)
    assert node is not None
    return node
