"""Is the build as new as its sources? Tests of an old one prove nothing; a changed .pxd makes it crash."""

import re
import sys
import sysconfig
from pathlib import Path

from .processes import ROOT

SOURCE = ROOT / "src"
_SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
_CIMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+cimport\s+([^#\n]*)|cimport\s+([\w., ]+))", re.MULTILINE)


def stale_modules(only_loaded: bool = False) -> list[str]:
    """One line for each compiled module (or only those imported) that is missing or out of date."""
    problems = []
    for source in sorted(SOURCE.rglob("*.pyx")):
        name = ".".join(source.relative_to(SOURCE).with_suffix("").parts)
        if only_loaded and name not in sys.modules:
            continue
        binary = source.with_name(source.stem + _SUFFIX)
        if not binary.exists():
            problems.append(f"{name} is not built")
            continue
        built = binary.stat().st_mtime
        newer = sorted(
            str(each.relative_to(ROOT)) for each in _sources(source) if each.stat().st_mtime > built
        )
        if newer:
            problems.append(f"{name} is older than {', '.join(newer)}")
    return problems


def _sources(path: Path) -> set[Path]:
    """A .pyx, its .pxd, and every .pxd of ours that these cimport, however far."""
    found: set[Path] = set()
    waiting = [path, path.with_suffix(".pxd")]
    while waiting:
        each = waiting.pop()
        if each in found or not each.exists():
            continue
        found.add(each)
        for package, names, modules in _CIMPORT.findall(each.read_text()):
            for module in re.split(r"[,\s]+", modules) if modules else [package]:
                waiting += _declarations(module)
            if package:
                waiting += [
                    file for name in re.findall(r"\w+", names) for file in _declarations(f"{package}.{name}")
                ]
    return found


def _declarations(module: str) -> list[Path]:
    return [(SOURCE / Path(*module.split("."))).with_suffix(".pxd")] if module.startswith("memagent") else []
