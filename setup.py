"""The compiled modules and their directives; all metadata is in pyproject.toml.

MEMAGENT_TRACE=1 builds for coverage of .pyx files, MEMAGENT_SANITIZE=1 for ASan and UBSan.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

TRACE = os.environ.get("MEMAGENT_TRACE") == "1"
SANITIZE = os.environ.get("MEMAGENT_SANITIZE") == "1"

compile_args = ["-O2", "-g", "-fno-omit-frame-pointer", "-Wno-unused-function"]
link_args: list[str] = []
macros: list[tuple[str, str | None]] = []
if TRACE:
    macros += [("CYTHON_TRACE_NOGIL", "1"), ("CYTHON_USE_SYS_MONITORING", "0")]
if SANITIZE:
    compile_args = [
        "-O1",
        "-g",
        "-fno-omit-frame-pointer",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=undefined",
    ]
    link_args = ["-fsanitize=address,undefined"]

extensions = [
    Extension(
        ".".join(path.relative_to("src").with_suffix("").parts),
        [str(path)],
        define_macros=macros,
        extra_compile_args=compile_args,
        extra_link_args=link_args,
    )
    for path in sorted(Path("src").rglob("*.pyx"))
]

setup(
    ext_modules=cythonize(
        extensions,
        include_path=["src"],
        compiler_directives={"language_level": 3, "embedsignature": True, "linetrace": TRACE},
        nthreads=os.cpu_count() or 1,
    )
)
