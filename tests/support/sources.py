"""What the sources say, read as text: imports of .py, .pyx and .pxd alike, the shape of cdef functions."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from .processes import ROOT

PACKAGE = ROOT / "src" / "memagent"

_IMPORT = re.compile(r"^\s*(?:from\s+([.\w]+)\s+c?import\s+(.*)|c?import\s+(.*))$")
_STRING = re.compile(r'"""[\s\S]*?"""|' + r"'''[\s\S]*?'''")
_FUNCTION = re.compile(r"^(?:cdef|cpdef)\s+(?:inline\s+)?(?P<type>[^=(]*?)(?P<name>\w+)\s*\((?!\*)")
_POINTER = re.compile(r"^(?:ctypedef|cdef)\s+[^=(]*\(\*\s*\w+\s*\)\s*\(")
_NOT_A_FUNCTION = re.compile(
    r"^(?:cdef|cpdef)\s+(?:class|struct|packed|union|enum|cppclass|extern|api|public)\b"
)
_SAYS = re.compile(r"\)\s*(?:nogil\s+)?(?:noexcept|except)\b")
_OBJECTS = {"", "object", "bytes", "str", "list", "dict", "tuple", "set", "bytearray", "type"}


def tracked_files() -> list[Path]:
    """What belongs to the project: by git, or in an unpacked sdist everything."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        return [path for path in ROOT.rglob("*") if path.is_file()]
    names = [name for name in listed.stdout.decode().split("\0") if name]
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def module_files(*suffixes: str) -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*") if path.suffix in suffixes)


def module_name(path: Path) -> str:
    """`_core.request` for src/memagent/_core/request.pyx; "" for memagent itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, full dotted name) of everything that a file imports or cimports."""
    text = path.read_text()
    if path.suffix in (".py", ".pyi"):
        yield from _python_imports(ast.parse(text), _package_of(path))
    else:
        yield from _cython_imports(text, _package_of(path))


def logical_lines(text: str) -> Iterator[tuple[int, int, str]]:
    """(line, indent, text) with strings and comments out and open brackets joined to one line."""
    text = _STRING.sub(lambda found: '""' + "\n" * found[0].count("\n"), text)
    begun, held, depth = 0, "", 0
    for number, line in enumerate(text.splitlines(), 1):
        code = re.sub(r"\"[^\"\n]*\"|'[^'\n]*'", '""', line)
        code = code.partition("#")[0].rstrip()
        if not held:
            begun = number
        held = f"{held} {code.strip()}" if held else code
        depth += code.count("(") + code.count("[") - code.count(")") - code.count("]")
        if held.endswith("\\"):
            held = held[:-1]
            continue
        if depth <= 0 and held.strip():
            yield begun, len(held) - len(held.lstrip()), held.strip()
        if depth <= 0:
            held, depth = "", 0


def silent_functions(text: str, object_types: frozenset[str] = frozenset()) -> list[tuple[int, str]]:
    """cdef functions and function pointers that return a C value and say neither noexcept nor except."""
    found = []
    extern_indent: int | None = None
    for number, indent, line in logical_lines(text):
        if extern_indent is not None and indent > extern_indent:
            continue
        extern_indent = indent if line.startswith("cdef extern") else None
        if _NOT_A_FUNCTION.match(line):
            continue
        function = _FUNCTION.match(line)
        if function:
            kind = function["type"].strip()
            # A Python object has NULL for its exception already.
            if kind in _OBJECTS or kind.rpartition(".")[2] in object_types:
                continue
        elif not _POINTER.match(line):
            continue
        if not _SAYS.search(line):
            found.append((number, line))
    return found


def extension_classes() -> frozenset[str]:
    names: set[str] = set()
    for path in module_files(".pyx", ".pxd"):
        names.update(re.findall(r"^cdef class (\w+)", path.read_text(), re.MULTILINE))
    return frozenset(names)


def _package_of(path: Path) -> str:
    return ".".join(["memagent", *path.relative_to(PACKAGE).parts[:-1]])


def _python_imports(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = _absolute("." * node.level + (node.module or ""), package)
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)


def _cython_imports(text: str, package: str) -> Iterator[tuple[int, str]]:
    for number, _, line in logical_lines(text):
        if found := _IMPORT.match(line):
            origin, names, modules = found.groups()
            listed = (names if origin else modules).strip("() ").split(",")
            for name in (each.split()[0] for each in listed if each.strip()):
                yield number, f"{_absolute(origin, package)}.{name}" if origin else name


def _absolute(name: str, package: str) -> str:
    level = len(name) - len(name.lstrip("."))
    if level == 0:
        return name
    base = package.split(".")
    return ".".join([*base[: len(base) - level + 1], *filter(None, [name.lstrip(".")])])
