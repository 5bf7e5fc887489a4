"""What a process has imported, by Python's own account: PYTHONPROFILEIMPORTTIME in its environment."""

from collections.abc import Iterable

ENV = {"PYTHONPROFILEIMPORTTIME": "1"}
_MARK = "import time:"


def modules(output: str) -> set[str]:
    """By their whole names, from its standard error."""
    lines = [line for line in output.splitlines() if line.startswith(_MARK)]
    return {line.rpartition("|")[2].strip() for line in lines}


def packages(modules: Iterable[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}
