"""What is shipped is what is tested: source distribution -> wheel -> an environment of its own."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support.processes import ROOT
from tests.support.sources import PACKAGE, tracked_files

IMPORT_EVERYTHING = """
import importlib, sys
for name in sys.argv[1:]:
    module = importlib.import_module(name)
    assert module.__file__.startswith(sys.prefix), module.__file__
"""


@pytest.mark.timeout(400)  # it compiles every module once more
def test_the_source_distribution_becomes_a_wheel_that_works_alone(tmp_path: Path) -> None:
    files = tracked_files()
    sdist = _build_sdist(files, tmp_path)
    with tarfile.open(sdist) as archive:
        shipped = {name.partition("/")[2] for name in archive.getnames()}
    top = ("src/", "tests/", "conf/", "contrib/", "bench/", "scripts/", "docs/")
    expected = {name for path in files if (name := path.relative_to(ROOT).as_posix()).startswith(top)}

    assert not expected - shipped, f"MANIFEST.in forgets {sorted(expected - shipped)}"
    assert not {name for name in shipped if name.endswith((".c", ".so", ".pyc"))}

    wheel = _build_wheel(sdist, tmp_path)
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    modules = [path.relative_to(PACKAGE.parent).with_suffix("") for path in files if path.suffix == ".pyx"]
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    needed = {f"{module}{end}" for module in modules for end in (suffix, ".pyi")} | {"memagent/py.typed"}
    needed |= {name.removeprefix("src/") for name in expected if "/page/static/" in name}
    needed.add(f"memagent-{_version()}.data/data/share/man/man1/magent.1")
    assert not needed - names, f"the wheel lacks {sorted(needed - names)}"
    assert not {name for name in names if name.endswith((".c", ".pyx", ".pxd")) or name.startswith("tests")}

    python = _fresh_environment(wheel, tmp_path)
    assert (python.parents[1] / "share" / "man" / "man1" / "magent.1").exists()
    # The dependencies are this environment's own; PYTHONPATH does not follow the link from there to our src.
    env = {**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")}
    everything = [".".join(module.parts) for module in modules]
    subprocess.run([python, "-c", IMPORT_EVERYTHING, *everything], check=True, cwd=tmp_path, env=env)
    for command in ([python.with_name("magent")], [python, "-m", "memagent"]):
        said = subprocess.run([*command, "--version"], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert _version() in said.stdout, said.stderr


def _build_sdist(files: list[Path], folder: Path) -> Path:
    """From a copy of what is tracked, so that neither the copy nor the tree sees what the other leaves."""
    copy = folder / "tree"
    for path in files:
        target = copy / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    build = "from setuptools import build_meta; build_meta.build_sdist('..')"
    _run([sys.executable, "-c", build], copy)
    return next(folder.glob("memagent-*.tar.gz"))


def _build_wheel(sdist: Path, folder: Path) -> Path:
    # What the compiler's optimiser does is what all other tests test: here it would be most of the time.
    # Cython's cache knows a module by all that it is made of: without a .pxd of it, it is not found there.
    quick = {"CFLAGS": "-O0 -g0 -w", "CYTHON_CACHE_DIR": str(ROOT / ".cache" / "cython")}
    arguments = ["wheel", "--no-build-isolation", "--no-deps", "--no-index", "-w", str(folder), str(sdist)]
    _pip(arguments, folder, {**os.environ, **quick})
    return next(folder.glob("memagent-*.whl"))


def _fresh_environment(wheel: Path, folder: Path) -> Path:
    _run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], folder)
    python = folder / "venv" / "bin" / "python"
    _pip(["--python", str(python), "install", "--no-deps", "--no-index", str(wheel)], folder)
    return python


def _pip(arguments: list[str], folder: Path, env: dict[str, str] | None = None) -> None:
    _run([sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *arguments], folder, env)


def _run(command: list[str], folder: Path, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=env)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def _version() -> str:
    from memagent import __version__

    return __version__
