"""promtool, Prometheus' own checker of metrics and rules (Debian's package `prometheus`)."""

import shutil
import subprocess
from pathlib import Path


def promtool(*arguments: str, text: bytes = b"", folder: Path | None = None) -> str:
    """All that it says; an assertion where it is not content, or not there."""
    program = shutil.which("promtool")
    assert program, "promtool is missing: apt-get install prometheus"
    done = subprocess.run(
        [program, *arguments], input=text, capture_output=True, timeout=30, check=False, cwd=folder
    )
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said
