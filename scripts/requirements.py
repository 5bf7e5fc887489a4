#!/usr/bin/env python3
"""What the build and the program need, from pyproject.toml, in pip's format; the groups pip reads itself."""

import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).resolve().parent.parent / "pyproject.toml").read_text())
print("\n".join(project["build-system"]["requires"] + project["project"]["dependencies"]))
