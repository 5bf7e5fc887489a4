"""A file and what it includes -> one tree of nodes.

    magent.yaml   include: [base.yaml, "conf.d/*.yaml"]
        │                     │              └─ sorted by name; matching nothing is fine
        │                     └─ relative to the file that names it; has to be there
        ▼
    base.yaml ◀ conf.d/10-users.yaml ◀ conf.d/20-site.yaml ◀ magent.yaml      each wins over those before it

Invariants
- Every read counts against one budget, so neither a ring of files nor a tree that doubles can go on for ever.
- A mistake names the line of the `include` that led to it, or the file and line where it stands.
"""

import glob
import os
from collections.abc import Iterator
from typing import Final

from yaml import MappingNode, Node, ScalarNode, SequenceNode

from memagent.errors import ConfigError
from memagent.layers import compose, join, note
from memagent.reading import Mistakes, read_text
from memagent.units import quoted

INCLUDE: Final = "include"
_MOST_DEEP: Final = 10
_MOST_FILES: Final = 256
_MOST_BYTES: Final = 4 * 1024 * 1024


def read_tree(path: str, mistakes: Mistakes) -> Node | None:
    """The nodes of a file and of all that it includes; None if it says nothing."""
    return complete(read_text(path), path, mistakes)


def complete(text: str, name: str, mistakes: Mistakes) -> Node | None:
    """As `read_tree`, for a text that is at hand."""
    return _Files(mistakes).tree(text, (name,))


class _Files:
    """The files of one configuration. `chain` leads from the first file to the one at hand."""

    def __init__(self, mistakes: Mistakes) -> None:
        self._mistakes = mistakes
        self._n_files = 0
        self._n_bytes = 0

    def tree(self, text: str, chain: tuple[str, ...]) -> Node | None:
        root = compose(text, chain[-1])
        if not isinstance(root, MappingNode):
            return root
        asked = [(key, value) for key, value in root.value if key.value == INCLUDE]
        root.value = [pair for pair in root.value if pair[0].value != INCLUDE]
        for key, _ in asked[1:]:
            note(self._mistakes, key, f"the setting {quoted(INCLUDE)} is there twice")
        joined: Node = root
        for _, value in asked[:1]:
            lower = self._below(value, chain)
            joined = root if lower is None else join(lower, root)
        return joined

    def _below(self, value: Node, chain: tuple[str, ...]) -> Node | None:
        """All that one `include` names, in its order."""
        lower: Node | None = None
        for item in value.value if isinstance(value, SequenceNode) else [value]:
            for path in self._paths(item, os.path.dirname(chain[-1])):
                found = self._included(path, item, chain)
                if found is not None:
                    lower = found if lower is None else join(lower, found)
        return lower

    def _paths(self, item: Node, folder: str) -> Iterator[str]:
        if not isinstance(item, ScalarNode) or not item.value or not item.value.isprintable():
            text = "must be a path, a pattern such as conf.d/*.yaml, or a list of them"
            note(self._mistakes, item, INCLUDE, text)
            return
        path = os.path.join(folder, item.value)
        if not glob.has_magic(path) or os.path.lexists(path):
            yield path
        else:
            yield from sorted(glob.glob(path))

    def _included(self, path: str, item: Node, chain: tuple[str, ...]) -> Node | None:
        if any(os.path.realpath(path) == os.path.realpath(other) for other in chain):
            note(
                self._mistakes, item, INCLUDE, f"{quoted(path)} includes itself: {' > '.join((*chain, path))}"
            )
            return None
        try:
            self._spend(chain)
            text = read_text(path)
            self._n_bytes += len(text)
        except ConfigError as error:
            note(self._mistakes, item, INCLUDE, error.message)
            return None
        try:
            root = self.tree(text, (*chain, path))
        except ConfigError as error:
            self._mistakes.note(error.message)
            return None
        if root is not None and not isinstance(root, MappingNode):
            note(self._mistakes, root, "must be a mapping of settings, such as {workers: ...}")
            return None
        return root

    def _spend(self, chain: tuple[str, ...]) -> None:
        self._n_files += 1
        if len(chain) >= _MOST_DEEP:
            raise ConfigError(f"files include files more than {_MOST_DEEP} deep")
        if self._n_files > _MOST_FILES:
            raise ConfigError(f"more than {_MOST_FILES} files are included")
        if self._n_bytes > _MOST_BYTES:
            raise ConfigError("more than 4 MiB are included: this is no configuration")
