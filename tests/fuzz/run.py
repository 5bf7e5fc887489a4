"""Fuzz one target under libFuzzer: `python -m tests.fuzz.run TARGET [its options and corpus folders]`.

The compiled modules have to be built with coverage counters (scripts/fuzz does so): they are what guides it.
The twins are plain Python and are left uninstrumented: their branches say nothing about the compiled parsers.
"""

import sys

import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

from tests.fuzz.targets import TARGETS


def main() -> None:
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
