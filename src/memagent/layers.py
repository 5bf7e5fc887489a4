"""What a configuration says before it is read: YAML's nodes, which know where they were written.

    files ──▶ one tree of nodes ◀── environment ◀── flags       what comes later wins
                     │
                     └──▶ `config` reads it as if it were one file

A layer says as much as it likes. Mappings are joined entry by entry (the root, `pools`, a pool); anything
else, a list too, is replaced whole. A node keeps its place: a line of a file, a variable, a flag.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import yaml
from yaml import MappingNode, Node, ScalarNode, SequenceNode

from memagent.errors import ConfigError
from memagent.reading import Mistakes

YAML = "tag:yaml.org,2002:"
_NO_LINE = -1
_JOINED_LEVELS = 3  # the root, `pools`, a pool
_POOLS_LEVEL = 2  # the names there are nobody's settings


class Override(NamedTuple):
    """One setting of an upper layer; `path` leads to it from the root: ("pools", "main", "fallback")."""

    path: tuple[str, ...]
    node: Node


class Place(NamedTuple):
    """Where something was written; line 0 is no line, as of a flag or a variable."""

    name: str
    line: int

    def __str__(self) -> str:
        return f"{self.name}:{self.line}" if self.line else self.name


def place_of(node: Node) -> Place:
    return _place(node.start_mark)


def note(mistakes: Mistakes, node: Node, *parts: str) -> None:
    """A mistake that stands where the node does."""
    place = place_of(node)
    mistakes.note(str(place), *parts, line=place.line, file=place.name if place.line else "")


# ---------------------------------------------------------------- making nodes


class _Loader(yaml.SafeLoader):
    """Marks that carry the name of the file; without lines, that of a variable."""

    def __init__(self, text: str, name: str, numbered: bool) -> None:
        self._numbered = numbered  # the first mark is made before this ends
        super().__init__(text)
        self.name = name

    def get_mark(self) -> yaml.Mark:
        mark = super().get_mark()
        return mark if self._numbered else _mark(self.name)


def compose(text: str, name: str, numbered: bool = True) -> Node | None:
    """The nodes of a YAML text, None if it says nothing; ConfigError has `name` and if wanted the line."""
    try:
        return _Loader(text, name, numbered).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = str(_place(mark)) if mark else name
        what = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"{where}: not valid YAML: {what}") from None
    except yaml.reader.ReaderError as error:
        where = str(Place(name, text.count("\n", 0, error.position) + 1 if numbered else 0))
        raise ConfigError(f"{where}: not valid YAML: control character in the text") from None
    except RecursionError:
        raise ConfigError(f"{name}: nested too deeply") from None
    except (ValueError, OverflowError):
        # PyYAML lets chr() and int() complain about absurd escapes and version numbers
        raise ConfigError(f"{name}: not valid YAML: a number or an escape is out of range") from None


def scalar(text: str, source: str) -> ScalarNode:
    """A value that somebody gave outside a file. Empty text is a value; `null` and `~` are none."""
    tag = YAML + ("null" if text in ("null", "~") else "str")
    return ScalarNode(tag, text, _mark(source), _mark(source), style='"')


def sequence(nodes: Iterable[Node], source: str) -> SequenceNode:
    return SequenceNode(YAML + "seq", list(nodes), _mark(source), _mark(source))


def mapping(source: str) -> MappingNode:
    """An empty one."""
    return MappingNode(YAML + "map", [], _mark(source), _mark(source))


# ---------------------------------------------------------------- joining them


def join(lower: Node, upper: Node, levels: int = _JOINED_LEVELS) -> Node:
    """A tree that says what both say, the upper one where both speak; it stands where that does."""
    if levels == 0 or not (isinstance(lower, MappingNode) and isinstance(upper, MappingNode)):
        return upper
    first: dict[str, int] = {}
    for index, (key, _) in enumerate(upper.value):
        if isinstance(key, ScalarNode):
            first.setdefault(key.value, index)
    pairs, met = [], set()
    for key, below in lower.value:
        if levels != _POOLS_LEVEL and _other_way(key) in first:
            continue
        index = first.get(key.value, -1) if isinstance(key, ScalarNode) else -1
        if index < 0:
            pairs.append((key, below))
        elif index not in met:
            met.add(index)
            above_key, above = upper.value[index]
            pairs.append((above_key, join(below, above, levels - 1)))
    pairs += [pair for index, pair in enumerate(upper.value) if index not in met]
    return MappingNode(upper.tag, pairs, upper.start_mark, upper.end_mark)


def lay(root: Node, overrides: Sequence[Override]) -> Node:
    """The tree with the overrides above it, in their order. What was there keeps its place."""
    for path, node in overrides:
        root = join(root, _leading_to(path, node, root))
    return root


def entry(table: Node | None, name: str) -> Node | None:
    """What a mapping has under a name."""
    if not isinstance(table, MappingNode):
        return None
    return next((node for key, node in table.value if key.value == name), None)


def entries(table: Node | None) -> Iterator[tuple[str, Place, Node]]:
    """What a mapping has, and where each name stands: a list begins below its own."""
    if isinstance(table, MappingNode):
        for key, node in table.value:
            if isinstance(key, ScalarNode):
                yield key.value, place_of(key), node


def _leading_to(path: tuple[str, ...], node: Node, beside: Node | None) -> Node:
    """Mappings of one entry each, down to the node; they stand where those do that are there already."""
    if not path:
        return node
    inner = _leading_to(path[1:], node, entry(beside, path[0]))
    mark = node.start_mark if beside is None else beside.start_mark
    return MappingNode(YAML + "map", [(scalar(path[0], place_of(node).name), inner)], mark, mark)


def _other_way(key: Node) -> str:
    """`token_file` for `token`, and back: a secret is said by either."""
    name = str(key.value)
    return name.removesuffix("_file") if name.endswith("_file") else f"{name}_file"


def _mark(source: str) -> yaml.Mark:
    return yaml.Mark(source, 0, _NO_LINE, 0, None, 0)


def _place(mark: yaml.Mark) -> Place:
    return Place(mark.name, mark.line + 1)
