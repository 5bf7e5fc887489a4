"""The house's rules: who may import whom, a test for every module, small files, what compiled modules have.

A rule that stands in the way is changed here and in ARCHITECTURE.md, with its reason, and not worked around.
"""

import re
import sys
import tomllib

import pytest

from tests.support.processes import ROOT
from tests.support.sources import (
    PACKAGE,
    extension_classes,
    imports,
    logical_lines,
    module_files,
    module_name,
    silent_functions,
    tracked_files,
)

LONGEST_FILE_LINES = 650
_SOURCES = (".py", ".pyx", ".pxd", ".pyi", ".sh", ".js", ".css")

# What a module, or every module of a package, may import of ours. A package may always import itself.
_TABLES = ("errors", "units", "addresses")
_FILES = (*_TABLES, "rows", "settings", "reading")
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "": (),
    "errors": (),
    "units": (),
    "addresses": ("errors", "units"),
    "plain": (),
    # Its names are those of settings; workers do not load these.
    "told": (*_TABLES, "settings"),
    "reading": ("errors", "units"),
    "logs": ("errors", "units", "control", "repeats"),
    "log_files": (),
    "repeats": (),
    "worker_log": ("control", "log_files", "repeats"),
    "unix_files": (),
    "activation": _TABLES,
    "reuseport": (),
    "listeners": (*_TABLES, "activation", "settings", "control", "unix_files", "reuseport"),
    "threads": (),
    "resolver": ("errors", "units", "addresses", "threads"),
    "daemon": ("errors",),
    "open_files": ("errors", "settings"),
    "rows": _TABLES,
    "secret_files": (),
    "settings": (*_TABLES, "rows", "told"),
    "counters": _TABLES,
    "snapshot": (*_TABLES, "plain"),
    "counts": (),
    "rates": ("counts", "snapshot"),
    "questions": ("snapshot",),
    "observed": _TABLES,
    "layers": (*_TABLES, "reading"),
    "including": (*_TABLES, "reading", "layers"),
    "environment": (*_FILES, "layers"),
    "config": (*_FILES, "layers", "including", "environment", "secret_files"),
    "origins": (*_FILES, "layers", "config"),
    "differences": (*_TABLES, "rows", "settings"),
    "schema": (*_FILES, "including"),
    "legacy": (*_FILES, "layers", "config"),
    "control": ("errors", "units", "plain"),
    "lifecycle": ("snapshot", "errors"),
    "segment": (
        *("counters", "errors", "_core.metrics", "_core.standing", "_core.marks", "_core.latency"),
        *("_core.hot", "_core.sighting"),
    ),
    # Reads shared memory for operators; what a tap may ask for is known to the core.
    "observing": (
        *("admin.requests", "control", "fleet", "observed", "segment", "_core.observer", "_core.sighting"),
        *("inspection.keys", *_TABLES),
    ),
    "usage": (),
    "stats": ("counters", "segment", "settings", "addresses", "usage", "errors"),
    "topology": ("settings", "counters", "segment", "_core"),
    "worker": (
        *_TABLES,
        "settings",
        "topology",
        "_net",
        "_core",
        "control",
        "counters",
        "segment",
        "stats",
        "told",
        "worker_log",
    ),
    "fleet": (*_TABLES, "settings", "topology"),
    "pulse": (),
    "notify": (),
    "rewarm_process": ("processes", "rewarm.job", "errors"),
    "rewarms": ("fleet", "snapshot", "segment", "logs", "rewarm_process", "rewarm.job", "tasks"),
    "tasks": ("logs",),
    "migration": (*_TABLES, "settings", "topology"),
    "migrator": (
        *("fleet", "leader", "logs", "migration", "rewarm.job", "rewarms", "settings", "snapshot", "tasks"),
        "topology",
    ),
    "names": ("control", "fleet", "logs", "resolver", "settings"),
    "orphans": ("control", "processes", "tasks"),
    "crew": (
        *("control", "errors", "logs", "orphans", "processes", "pulse", "segment", "snapshot", "tasks"),
    ),
    "leader": (*("lifecycle", "snapshot", "settings", "fleet", "segment", "control", "logs", "rewarms"),),
    "reload": ("settings", "rows", "differences", "units"),
    "reloader": (
        *("admin.requests", "config", "control", "errors", "fleet", "leader", "logs", "names", "notify"),
        *("listeners", "migration", "reading", "reload", "segment", "settings", "threads", "units"),
    ),
    "operators": (
        "leader",
        "migrator",
        "reload",
        "lifecycle",
        "snapshot",
        "counts",
        "fleet",
        "admin.requests",
        "rewarm.job",
        "observing",
        *_TABLES,
    ),
    # Starts the worker's module by its name, in a process of its own.
    "processes": ("control", "errors"),
    "takeover": ("activation", "errors", "plain"),
    "successor": ("admin.requests", "processes", "takeover"),
    "upgrade": ("admin.requests", "crew", "leader", "logs", "successor"),
    "probe": ("snapshot", "lifecycle", "errors"),
    # A process of its own. Who starts it may only know its job and its reports.
    "rewarm": (*_TABLES, "plain", "settings", "topology", "_core"),
    "rewarm.job": (*_TABLES, "plain", "settings", "told"),
    # Another one, for the page.
    "survey": (*_TABLES, "inspection", "settings", "snapshot", "topology"),
    "survey.job": ("settings", "snapshot"),
    "survey_process": ("processes", "survey.job"),
    "inspection": (*_TABLES, "settings"),
    "admin": (
        *(
            "addresses",
            "snapshot",
            "observed",
            "counters",
            "errors",
            "units",
            "unix_files",
            "logs",
            "threads",
            "inspection.keys",
        ),
    ),
    # They ask where keys are, as `magent explain` does.
    "admin.keys": ("admin", "errors", "inspection", "topology", "settings", "snapshot", "threads"),
    "admin.flushing": ("admin.requests", *_TABLES, "inspection", "threads"),
    "admin.writing": (
        "admin",
        "addresses",
        "errors",
        "inspection",
        "settings",
        "snapshot",
        "threads",
        "units",
    ),
    # All keys of a pool, by a process of its own.
    "admin.surveying": (
        "admin",
        "inspection.keys",
        "settings",
        "snapshot",
        "survey.job",
        "survey_process",
        "units",
    ),
    "admin.per_pool": ("settings",),
    "admin.readiness": ("admin.per_pool", "inspection.moves", "topology", "settings", "snapshot"),
    # Reads shared memory, which is a table of numbers; touches no worker and no socket.
    "admin.metrics": ("admin", "snapshot", "counters", "segment", "usage"),
    "admin.counting": ("snapshot", "counts", "segment"),
    # The page: what is watched is told by the same shared memory and the same configuration.
    "admin.page": (
        "admin",
        "addresses",
        "counts",
        "logs",
        "rates",
        "settings",
        "snapshot",
        "tasks",
        "threads",
        "units",
    ),
    "admin.page.actions": ("questions", "snapshot"),
    "admin.page.fill": (*_TABLES, "inspection.client", "snapshot", "threads"),
    "admin.page.what_if": (
        *_TABLES,
        "admin.requests",
        "inspection",
        "settings",
        "snapshot",
        "threads",
        "topology",
    ),
    "admin.page.shares": ("inspection.places", "inspection.shares", "settings", "topology"),
    # Both sides of the control socket ask it.
    "admin.place": (),
    "admin.doors": (
        *(*_TABLES, "activation", "admin", "counts", "listeners", "logs", "settings", "snapshot"),
        *("survey.job", "survey_process"),
    ),
    "supervisor": (
        *(
            *_TABLES,
            "settings",
            "config",
            "control",
            "admin",
            "segment",
            "snapshot",
            "listeners",
            "activation",
            "counts",
        ),
        *("processes", "daemon", "open_files", "notify", "logs", "log_files", "tasks", "crew", "pulse"),
        *("fleet", "leader", "names", "observing", "operators", "reloader", "rewarm.job", "rewarm_process"),
        *("migrator", "successor", "survey.job", "survey_process", "takeover", "upgrade"),
    ),
    "_core": ("errors",),
    "_net": ("_core", "errors"),
    "_bench": _TABLES,
    "cli": (
        *_FILES,
        "layers",
        "environment",
        "config",
        "schema",
        "origins",
        "differences",
        "legacy",
        "supervisor",
        "topology",
        "counters",
        "daemon",
        "logs",
        "inspection",
        "snapshot",
        "counts",
        "rates",
        "questions",
        "threads",
        "observed",
        "admin.place",
        "admin.requests",
        "_bench",
        "_core.ring",
        "migration",
    ),
    "__main__": ("cli",),
}

# The core decides without a socket, a clock or a log; libc's own headers for these count as well.
NO_IO = re.compile(
    r"^(os|io|socket|select|selectors|time|datetime|logging|structlog|asyncio|threading|signal|subprocess|pathlib|random"
    r"|posix|libc\.(stdio|time|signal|unistd)|cpython\.(time|pythread))\b"
)
IO_HEADER = re.compile(
    r'extern from "(sys/(socket|epoll|time|uio|select|stat|un)|unistd|time|fcntl|netinet/.*|arpa/.*)\.h"'
)

# No test file of the same name: property tests, golden pairs and the fuzz corpus go through these.
# The list may only shrink: a module that has one is taken out.
WITHOUT_MIRROR: set[str] = set()

# What `pip install` brings under another name than the one that is imported.
IMPORTED_AS = {
    "PyYAML": {"yaml"},
    "pydantic": {"pydantic", "pydantic_core", "annotated_types"},
    "opentelemetry-sdk": {"opentelemetry"},
    "fastapi": {"fastapi", "starlette"},
}


def _rule_for(module: str) -> str | None:
    """The longest name in the table that covers the module."""
    parts = module.split(".")
    return next(
        (name for end in range(len(parts), 0, -1) if (name := ".".join(parts[:end])) in MAY_IMPORT), None
    )


def test_every_module_has_a_place_in_the_table() -> None:
    homeless = [
        module_name(path)
        for path in module_files(".py", ".pyx", ".pxd")
        if _rule_for(module_name(path)) is None
    ]
    assert not homeless, f"say in MAY_IMPORT what these may import: {homeless}"


def test_imports_follow_the_table() -> None:
    wrong = []
    for path in module_files(".py", ".pyx", ".pxd"):
        own = _rule_for(module_name(path))
        if own is None:
            continue
        for line, name in imports(path):
            if name != "memagent" and not name.startswith("memagent."):
                continue
            target = name.removeprefix("memagent").lstrip(".")
            allowed = (*MAY_IMPORT[own], own)
            # `import memagent` and `from memagent import __version__` name no module.
            if (
                not target
                or target.startswith("__")
                or any(target == each or target.startswith(f"{each}.") for each in allowed if each)
            ):
                continue
            wrong.append(f"{path.relative_to(ROOT)}:{line}: {own or 'memagent'} may not import {target}")
    assert not wrong, "\n".join(wrong)


def test_nobody_imports_the_command_line() -> None:
    importers = {
        own for own, allowed in MAY_IMPORT.items() if any(each.split(".")[0] == "cli" for each in allowed)
    }
    assert importers == {"__main__"}


def test_the_core_does_no_io() -> None:
    wrong = []
    for path in module_files(".py", ".pyx", ".pxd"):
        if not module_name(path).startswith("_core"):
            continue
        wrong += [
            f"{path.relative_to(ROOT)}:{line}: {name}" for line, name in imports(path) if NO_IO.match(name)
        ]
        wrong += [f"{path.relative_to(ROOT)}: {found[0]}" for found in IO_HEADER.finditer(path.read_text())]
    assert not wrong, "\n".join(wrong)


def test_third_party_imports_are_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared: set[str] = {"memagent", "cython", "cpython", "libc", "posix"}
    optional = [each for extra in project["optional-dependencies"].values() for each in extra]
    for requirement in [*project["dependencies"], *optional]:
        name = re.split(r"[^\w.-]", requirement)[0]
        declared |= IMPORTED_AS.get(name, {name})
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in module_files(".py", ".pyx", ".pxd")
        for line, name in imports(path)
        if name.split(".")[0] not in declared | sys.stdlib_module_names
    ]
    assert not wrong, "not among pyproject.toml's dependencies:\n" + "\n".join(wrong)


def test_every_module_has_a_test_of_its_name() -> None:
    missing, needless = [], []
    for path in module_files(".py", ".pyx"):
        if path.stem in ("__init__", "__main__"):
            continue
        parts = path.relative_to(PACKAGE).parts
        mirror = ROOT.joinpath("tests", "unit", *parts[:-1], f"test_{path.stem}.py")
        name = module_name(path)
        if mirror.exists() and name in WITHOUT_MIRROR:
            needless.append(name)
        if not mirror.exists() and name not in WITHOUT_MIRROR:
            missing.append(str(mirror.relative_to(ROOT)))
    assert not missing, f"these tests are missing: {missing}"
    assert not needless, f"take out of WITHOUT_MIRROR: {needless}"
    gone = WITHOUT_MIRROR - {module_name(path) for path in module_files(".py", ".pyx")}
    assert not gone, f"take out of WITHOUT_MIRROR, they are no modules: {gone}"


def test_no_file_is_too_long() -> None:
    long = []
    for path in tracked_files():
        if path.suffix in _SOURCES or path.name in ("Makefile", "run"):
            lines = len(path.read_text().splitlines())
            if lines > LONGEST_FILE_LINES:
                long.append(f"{path.relative_to(ROOT)}: {lines} lines")
    assert not long, f"longer than {LONGEST_FILE_LINES} lines: {long}"


def test_every_compiled_module_has_its_declarations_and_its_stub() -> None:
    missing = [
        str(path.with_suffix(suffix).relative_to(ROOT))
        for path in module_files(".pyx")
        for suffix in (".pxd", ".pyi")
        if not path.with_suffix(suffix).exists()
    ]
    assert not missing, missing


def test_every_cdef_function_says_what_an_exception_does() -> None:
    classes = extension_classes()
    silent = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in module_files(".pyx", ".pxd")
        for line, text in silent_functions(path.read_text(), classes)
    ]
    assert not silent, "neither noexcept nor except:\n" + "\n".join(silent)


def test_nothing_is_included() -> None:
    assert not module_files(".pxi")
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in module_files(".pyx", ".pxd")
        for line, _, text in logical_lines(path.read_text())
        if re.match(r"include\b", text)
    ]
    assert not wrong, wrong


def test_no_path_of_anybodys_machine() -> None:
    machine = re.compile(rb"(?<![\w.~-])/(work|root|home|Users)/[\w.]+")
    wrong = []
    for path in tracked_files():
        text = path.read_bytes()
        if path == PACKAGE.parent.parent / "tests" / "test_architecture.py" or b"\0" in text[:1024]:
            continue
        wrong += [f"{path.relative_to(ROOT)}: {found[0].decode()}" for found in machine.finditer(text)]
    assert not wrong, wrong


# The checks above read text; these show that they see what they are there for.


@pytest.mark.parametrize(
    "text",
    [
        "cdef int f(int a) nogil:\n    return a",
        "cdef inline uint32_t f(const unsigned char *p,\n        size_t n):\n    return 0",
        "cdef class C:\n    cdef size_t used(self)",
        "cpdef int f(int a):\n    return a",
        "ctypedef uint32_t (*Hash)(const char *p) nogil",
    ],
)
def test_a_silent_function_is_seen(text: str) -> None:
    assert len(silent_functions(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "cdef int f(int a) noexcept nogil:\n    return a",
        "cdef inline uint32_t f(const unsigned char *p,\n        size_t n) except? 0:\n    return 0",
        "cdef int f(self) except -1",
        "cdef object f(self):\n    return None",
        "cdef Known f(self):\n    return None",
        "cdef class C(Base):\n    pass",
        "cdef int a = f(1)",
        "cdef size_t a, b",
        "cdef unsigned char block[256]",
        'cdef extern from "x.h" nogil:\n    int f(const void *a, size_t n)\n    cdef int g(int a)',
        "ctypedef uint32_t (*Hash)(const char *p) noexcept nogil",
        '"""\ncdef int f(int a):\n"""',
        "# cdef int f(int a):",
    ],
)
def test_what_is_no_silent_function_is_left_alone(text: str) -> None:
    assert silent_functions(text, frozenset({"Known"})) == []


def test_imports_are_read_in_every_form(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("package")
    monkeypatch.setattr("tests.support.sources.PACKAGE", folder)
    compiled = folder / "a.pyx"
    compiled.write_text(
        "from memagent._core.b cimport (\n    C, D,\n)\n"
        "cimport memagent._core.e\nimport os, time as t\nfrom .f cimport g\n"
    )
    assert [name for _, name in imports(compiled)] == [
        "memagent._core.b.C",
        "memagent._core.b.D",
        "memagent._core.e",
        "os",
        "time",
        "memagent.f.g",
    ]
    plain = folder / "b.py"
    plain.write_text("def f():\n    from memagent import cli\n    import socket\n    from . import x\n")
    assert sorted(name for _, name in imports(plain)) == ["memagent.cli", "memagent.x", "socket"]
