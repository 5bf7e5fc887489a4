"""What a survey is told and what it says: one JSON object a line, on its standard input and output.

    supervisor ── Job ────────────────────────────────────▶ survey
    supervisor ◀─ {"progress": PROGRESS} ..., and one last ─ survey
                  {"result": ...}  or  {"error": TEXT, "hint": TEXT or null}

- PROGRESS is a `Progress`: five a second at most, and one every few seconds at least.
- The end of standard input ends the process at once: nobody wants to know any more. So does a kill, at any
  time, as nothing is written anywhere.
- RESULT is described where it is made: `distribution`, `browse`. Keys are any bytes, so each is there twice
  as in `observed`: `key` for people, and `key_base64`.
"""

import base64
import json
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass as checked

from memagent.settings import PoolConfig
from memagent.snapshot import State

_STRICT: Final = ConfigDict(extra="forbid")


@checked(frozen=True, config=_STRICT)
class Job:
    """The first line. `states` are the servers' and then the backups'.

    The rest is for browse. `only`: the one holder whose keys are wanted, as a position among the states;
    None: all, each key where it would be looked for. `after_base64`: keys behind this one.
    """

    what: Literal["distribution", "browse"]
    pool: PoolConfig
    states: tuple[State, ...]
    prefix_base64: str = ""
    pattern: str = ""
    only: int | None = None
    after_base64: str = ""


@dataclass(slots=True)
class Progress:
    """Which server is being read, and how many keys in all have been, of how many that there should be."""

    server: str = ""
    backup: bool = False
    servers_done: int = 0
    servers_total: int = 0
    keys_read: int = 0
    keys_expected: int = 0


_job: Final = TypeAdapter(Job)


def write_job(job: Job) -> bytes:
    """The line."""
    return _job.dump_json(job) + b"\n"


def read_job(line: bytes) -> Job:
    """ValueError says what is wrong with it."""
    job = _job.validate_json(line)
    n_holders = len(job.pool.servers) + len(job.pool.backups)
    if len(job.states) != n_holders:
        raise ValueError(f"{len(job.states)} states for {n_holders} servers")
    if job.only is not None and not 0 <= job.only < n_holders:
        raise ValueError(f"server {job.only} of {n_holders}")
    return job


def write_progress(progress: Progress) -> bytes:
    return line({"progress": asdict(progress)})


def write_error(error: str, hint: str | None = None) -> bytes:
    return line({"error": error, "hint": hint})


def line(values: dict[str, Any]) -> bytes:
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"


def is_last(line: bytes) -> bool:
    """Or is it progress?"""
    return not line.startswith(b'{"progress"')


def shown(key: bytes, name: str = "key") -> dict[str, str]:
    """A key, or the part of one, in both of its forms."""
    return {
        name: key.decode(errors="backslashreplace"),
        f"{name}_base64": base64.b64encode(key).decode(),
    }
