"""systemd-analyze, systemd's own checker of units (Debian's package `systemd`); no systemd need run."""

import shutil
import subprocess


def systemd_analyze(*arguments: str) -> tuple[int, str]:
    """Its exit code, and all that it says; an assertion where it is not there."""
    program = shutil.which("systemd-analyze")
    assert program, "systemd-analyze is missing: apt-get install systemd"
    done = subprocess.run(
        [program, "--no-pager", *arguments], capture_output=True, timeout=50, check=False, text=True
    )
    return done.returncode, done.stdout + done.stderr
