"""A file, the environment and flags -> Config, or one ConfigError that lists every mistake with its place.

    text ──▶ PyYAML's nodes (they know their places) ──▶ one table of settings after another ──▶ Config
                  ▲                                        │
    environment, flags (see `layers`)    unknown name, wrong value, broken rule: noted, and on to the next

Flags win over the environment, that over the file, and the file over the defaults.

Invariants
- Scalars are read as written: YAML's own idea of 10:30, 010 or `no` never reaches a setting.
- The walk goes where the table leads, never where the file leads: aliases cannot make it endless.
- Whatever the text, the outcome is a Config or a ConfigError.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from yaml import MappingNode, Node, ScalarNode, SequenceNode

from memagent import environment
from memagent.addresses import parse_listen
from memagent.errors import ConfigError
from memagent.including import INCLUDE, complete, read_tree
from memagent.layers import YAML, Override, entries, entry, lay, mapping, note, place_of
from memagent.reading import Mistakes, nearest
from memagent.rows import read_setting, secret_of, settings_of
from memagent.secret_files import read_secret
from memagent.settings import (
    Config,
    Conflict,
    ListenAddress,
    PoolConfig,
    ServerConfig,
    Table,
)
from memagent.units import quoted

_PLAIN_TAGS = {YAML + name for name in ("str", "int", "float", "bool", "null", "timestamp", "value", "merge")}
HINT = "docs/reference/settings.md lists every setting; conf/ has examples"

_MOST_ITEMS = 1024

_Table = TypeVar("_Table", bound=Table)
_Item = TypeVar("_Item")
_Read = Callable[[Node, str], Any]


class Loaded(NamedTuple):
    """A configuration, the tree it was read from, and what is not quite right."""

    config: Config
    tree: Node
    warnings: tuple[str, ...] = ()


def load(
    path: str | None, flags: Sequence[Override] = (), environ: Mapping[str, str] | None = None
) -> Loaded:
    """The configuration in a file, if there is one, with the environment's and the flags' words above it."""
    mistakes = Mistakes(HINT)
    if path is None:
        return build(mapping("the environment"), flags, environ, mistakes)
    return build(_not_empty(read_tree(path, mistakes), path, environ), flags, environ, mistakes)


def parse(
    text: str, name: str, flags: Sequence[Override] = (), environ: Mapping[str, str] | None = None
) -> Config:
    """The configuration in a text; `name` is what mistakes call it."""
    mistakes = Mistakes(HINT)
    root = _not_empty(complete(text, name, mistakes), name, environ)
    return build(root, flags, environ, mistakes).config


def build(
    root: Node,
    flags: Sequence[Override] = (),
    environ: Mapping[str, str] | None = None,
    mistakes: Mistakes | None = None,
) -> Loaded:
    """The configuration in a tree, with the environment's and the flags' words above it."""
    mistakes = mistakes or Mistakes(HINT)
    root = lay(root, environment.read(environ or {}, _pool_names(root), mistakes))
    root = lay(root, flags)
    return Loaded(_Reader(mistakes).config(root), root, tuple(mistakes.warnings))


def _not_empty(root: Node | None, name: str, environ: Mapping[str, str] | None) -> Node:
    if root is None and not environment.is_given(environ or {}):
        raise ConfigError(f"{name}: the file is empty: it needs at least a pool with one server", HINT)
    return mapping(name) if root is None else root


def _pool_names(root: Node) -> list[str]:
    return [name for name, _, _ in entries(entry(root, "pools"))]


class _Reader:
    """One walk over one tree. A reading method returns None where it noted a mistake."""

    def __init__(self, mistakes: Mistakes) -> None:
        self._mistakes = mistakes

    def config(self, root: Node) -> Config:
        read: dict[str, _Read] = {
            "listen": partial(self._items, self._listen, "listen"),
            "pools": self._pools,
        }
        config = self._table(Config, root, "", read)
        self._mistakes.raise_if_any()
        assert config is not None
        return config

    # ------------------------------------------------------------ the parts of a tree

    def _pools(self, node: Node, where: str) -> tuple[PoolConfig | None, ...] | None:
        if not isinstance(node, MappingNode):
            self._note(node, where, "pools", "must be a mapping of names to pools")
            return None
        return tuple(
            self._pool(key, value) for key, value in self._entries(node, where, "the pool %s is there twice")
        )

    def _pool(self, key: ScalarNode, node: Node) -> PoolConfig | None:
        where = f"pool {quoted(key.value)}"
        try:
            name = read_setting(PoolConfig, "name", key.value)
        except ValueError as error:
            self._note(key, where, f"the name {error}")
            return None
        read: dict[str, _Read] = {
            part: partial(self._items, self._server, part) for part in ("servers", "backups")
        }
        read |= {
            "listen": partial(self._items, self._listen, "listen"),
            "prefixes": partial(self._items, self._prefix, "prefixes"),
        }
        return self._table(PoolConfig, node, where, read, given={"name": name})

    def _server(self, node: Node, where: str) -> ServerConfig | None:
        if isinstance(node, MappingNode):
            return self._table(ServerConfig, node, where, {})
        address = self._value(ServerConfig, "address", node, where)
        return None if address is None else ServerConfig.model_validate(address)

    def _listen(self, node: Node, where: str) -> ListenAddress | None:
        text = self._text(node, where)
        if text is None:
            return None
        try:
            parse_listen(text)
        except ValueError as error:
            self._note(node, where, quoted(text), str(error))
            return None
        return ListenAddress.model_validate(text)

    def _prefix(self, node: Node, where: str) -> str | None:
        text = self._text(node, where)
        if text is None:
            return None
        try:
            return str(read_setting(PoolConfig, "prefixes", (text,))[0])
        except ValueError as error:
            self._note(node, where, quoted(text), str(error))
            return None

    # ------------------------------------------------------------ tables, lists, values

    def _table(
        self,
        model: type[_Table],
        node: Node,
        where: str,
        read: Mapping[str, _Read],
        given: Mapping[str, Any] | None = None,
    ) -> _Table | None:
        """One table of settings. `read` has the readers of what is not a single value."""
        if not isinstance(node, MappingNode):
            example = next(name for name, row in settings_of(model).items() if row.required)
            self._note(node, where, f"must be a mapping of settings, such as {{{example}: ...}}")
            return None
        rows = settings_of(model)
        nodes: dict[str, Node] = {}
        values: dict[str, Any] = dict(given or {})
        for key, value_node in self._entries(node, where, "the setting %s is there twice"):
            name = secret_of(model, key.value) or key.value
            if name not in rows:
                self._note(key, where, f"unknown setting {quoted(name)}{_home_of(name, model)}")
                continue
            if name in nodes:
                self._note(key, where, f"{name} is given twice: write either {name} or {name}_file")
                continue
            nodes[name] = value_node
            one = self._value if name == key.value else self._secret_file
            value = (read.get(name) or partial(one, model, name))(value_node, where)
            if value is not None or self._means_none(model, name, value_node):
                values[name] = value
        for name, row in rows.items():
            if row.required and name not in nodes:
                self._note(node, where, f"the setting {quoted(name)} is missing")
        right = len(nodes.keys() - values.keys()) == 0 and all(
            name in values for name, row in rows.items() if row.required
        )
        sound = self._keeps_rules(model, values, nodes, node, where)
        if not (right and sound) or any(
            None in value for value in values.values() if isinstance(value, tuple)
        ):
            return None
        return model.model_validate(values)

    def _keeps_rules(
        self, model: type[Table], values: Mapping[str, Any], nodes: Mapping[str, Node], node: Node, where: str
    ) -> bool:
        """Note the broken rules between settings, each at the line of the setting to blame."""
        defaults = {
            name: field.default
            for name, field in model.model_fields.items()
            if name not in nodes and not field.is_required() and field.default_factory is None
        }
        conflicts = list(model.conflicts({**defaults, **values}))
        for conflict in conflicts:
            blamed, path = _blamed(conflict, nodes, node)
            self._note(blamed, where, "" if path in conflict.text else path, conflict.text)
        return not conflicts

    def _items(
        self, read: Callable[[Node, str], _Item | None], part: str, node: Node, where: str
    ) -> tuple[_Item | None, ...] | None:
        if not isinstance(node, SequenceNode):
            self._note(node, where, part, "must be a list, such as [a, b]")
            return None
        if len(node.value) > _MOST_ITEMS:
            self._note(node, where, part, f"at most {_MOST_ITEMS} are allowed, not {len(node.value)}")
            return None
        outer = f"{where}: " if where else ""
        return tuple(read(item, f"{outer}{part}[{index}]") for index, item in enumerate(node.value))

    def _entries(self, node: MappingNode, where: str, twice: str) -> Iterator[tuple[ScalarNode, Node]]:
        """The entries of a mapping; YAML itself would let the last of two equal keys win."""
        seen = set()
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self._note(key, where, "the name of a setting must be a word")
            elif key.value in seen:
                self._note(key, where, twice % quoted(key.value))
            else:
                seen.add(key.value)
                yield key, value

    def _value(self, model: type[Table], name: str, node: Node, where: str) -> Any:
        shown = "" if name == "address" else name
        text = self._text(node, where, shown)
        if text is None or self._means_none(model, name, node):
            return None
        try:
            return read_setting(model, name, text)
        except ValueError as error:
            wrong = "" if settings_of(model)[name].secret else quoted(text)
            self._note(node, where, shown, wrong, str(error))
            return None

    def _secret_file(self, model: type[Table], name: str, node: Node, where: str) -> Any:
        """A secret by the path of its file."""
        path = self._text(node, where, f"{name}_file")
        if path is None:
            return None
        try:
            found = read_secret(path)
            if found.readable_by_all:
                text = "every user of this machine may read it: chmod o-r"
                self._mistakes.warn(str(place_of(node)), where, f"{name}_file", quoted(path), text)
            return read_setting(model, name, found.text)
        except ValueError as error:
            self._note(node, where, f"{name}_file", quoted(path), str(error))
            return None

    def _text(self, node: Node, where: str, name: str = "") -> str | None:
        if not isinstance(node, ScalarNode):
            kind = "a list" if isinstance(node, SequenceNode) else "a mapping"
            self._note(node, where, name, f"must be a single value, not {kind}")
            return None
        if node.tag not in _PLAIN_TAGS:
            self._note(node, where, name, f"unknown YAML tag {quoted(node.tag)}")
            return None
        if not node.value and node.style is None:
            self._note(node, where, name, "has no value: write one, or leave the setting out")
            return None
        return str(node.value)

    def _means_none(self, model: type[Table], name: str, node: Node) -> bool:
        """`null` is a value only for a setting whose default is none."""
        field = model.model_fields[name]
        return (
            not field.is_required()
            and field.default is None
            and node.tag == YAML + "null"
            and bool(node.value)
        )

    def _note(self, node: Node, *parts: str) -> None:
        note(self._mistakes, node, *parts)


def _blamed(conflict: Conflict, nodes: Mapping[str, Node], table: Node) -> tuple[Node, str]:
    """The node that a broken rule points at, and its path in words."""
    first, *rest = conflict.where
    if first not in nodes and conflict.other:
        first, *rest = conflict.other
    node, path = nodes.get(str(first), table), str(first)
    for step in rest:
        if isinstance(node, SequenceNode) and isinstance(step, int):
            node, path = node.value[step], f"{path}[{step}]"
        elif isinstance(node, MappingNode):
            path = f"pool {quoted(step)}" if path == "pools" else f"{path}: {step}"
            node = next((value for key, value in node.value if key.value == step), node)
    return node, path


def _home_of(name: str, model: type[Table]) -> str:
    """Where an unknown setting belongs, or which one was meant."""
    if model is Config and name in settings_of(PoolConfig):
        return " (it belongs in a pool: pools: {main: {...}})"
    if model is PoolConfig and name in (*settings_of(Config), INCLUDE):
        return " (it belongs at the root of the file)"
    if model is PoolConfig and name in settings_of(ServerConfig):
        return " (it belongs in a server: servers: [{address: ...}])"
    return nearest(name, (*settings_of(model), INCLUDE) if model is Config else settings_of(model))
