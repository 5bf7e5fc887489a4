"""The compiled modules and their directives; all metadata is in pyproject.toml.

MEMAGENT_TRACE=1 builds for coverage of .pyx files, MEMAGENT_SANITIZE=1 for ASan and UBSan.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

TRACE = os.environ.get("MEMAGENT_TRACE") == "1"
SANITIZE = os.environ.get("MEMAGENT_SANITIZE") == "1"
CORES = os.cpu_count() or 1

# What Cython has made of the same bytes before, cimported ones included, it does not make again.
os.environ.setdefault("CYTHON_CACHE_DIR", ".cache/cython")

compile_args = ["-fno-omit-frame-pointer", "-Wno-unused-function"]
link_args: list[str] = []
macros: list[tuple[str, str | None]] = []
if TRACE:
    macros += [("CYTHON_TRACE_NOGIL", "1"), ("CYTHON_USE_SYS_MONITORING", "0")]
if SANITIZE:
    link_args = ["-fsanitize=address,undefined"]
    compile_args += ["-O1", "-g", *link_args, "-fno-sanitize-recover=undefined"]
elif "CFLAGS" not in os.environ:  # ours would come after them, and win
    compile_args += ["-O2", "-g"]


class Build(build_ext):
    """Cython runs when modules are built, not when a source distribution or metadata is asked for."""

    def build_extensions(self) -> None:
        directives = {"language_level": 3, "embedsignature": True, "linetrace": TRACE}
        ready = cythonize(
            self.extensions,
            include_path=["src"],
            compiler_directives=directives,
            nthreads=CORES,
            cache=True,
        )
        sources = {extension.name: extension.sources for extension in ready}
        for extension in self.extensions:
            extension.sources = sources[extension.name]
        super().build_extensions()


names = {path: ".".join(path.relative_to("src").with_suffix("").parts) for path in Path("src").rglob("*.pyx")}
extensions = [
    Extension(
        name, [str(path)], define_macros=macros, extra_compile_args=compile_args, extra_link_args=link_args
    )
    for path, name in sorted(names.items())
]
setup(ext_modules=extensions, cmdclass={"build_ext": Build}, options={"build_ext": {"parallel": CORES}})
