"""What is asked before something is done to a server or a pool: what it will do, and which keys agree to it.

`magent top` and the page ask the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from memagent.snapshot import MigrationSnapshot, ServerSnapshot


@dataclass(frozen=True, slots=True)
class Request:
    """What the proxy will be asked; `name` is for messages."""

    verb: str
    name: str
    words: Mapping[str, Any] = field(hash=False)

    def forced(self) -> "Request":
        return replace(self, words={**self.words, "force": True})


@dataclass(frozen=True, slots=True)
class Choice:
    label: str
    request: Request


@dataclass(frozen=True, slots=True)
class Question:
    """Any key but those of the choices means no."""

    text: str
    choices: Mapping[str, Choice] = field(hash=False)


_REFILL: Final = (
    "What it has stays as it is. It is out of service until it is filled; its copies answer meanwhile."
)


def about_service(server: ServerSnapshot, has_copies: bool) -> Question:
    """Out of it, or back into it. `has_copies`: are its keys on another server, too?"""
    if server.held:
        text = (
            f"Take {_called(server)} back into service? What was written meanwhile is set right there before "
            "it is asked for anything; if it has been restarted, it is refilled from its copies."
        )
        return Question(text, {"y": Choice("undrain it", _request("undrain", server, wait=False))})
    then = "then reads and writes go to the copies of its keys"
    if not has_copies:
        then = "then its keys are out of reach, as they have no copies"
    text = (
        f"Take {_called(server)} out of service? Requests under way are answered first; {then}. It stays "
        "out, through its restart too, until it is undrained."
    )
    return Question(text, {"y": Choice("drain it", _request("drain", server, wait=False))})


def about_refilling(server: ServerSnapshot) -> Question:
    """To begin, or what to do with the re-warm under way."""
    warm = server.warm
    if server.state != "warming" or warm is None or warm.state not in ("running", "paused"):
        text = f"Refill {_called(server)} from its copies? {_REFILL}"
        return Question(text, {"y": Choice("re-warm it", _request("rewarm", server, wait=False))})
    abort = Choice("abort it", _request("rewarm_abort", server))
    if warm.state == "paused":
        how, other = "paused", Choice("go on", _request("rewarm_resume", server))
    else:
        how, other = "under way", Choice("pause it", _request("rewarm_pause", server))
    text = f"The re-warm of {_called(server)} is {how}. Aborted, the server answers with what it has."
    return Question(text, {"p": other, "a": abort})


def about_replacing(server: ServerSnapshot) -> Question:
    """The new address is to be put into the request's words."""
    text = (
        f"Put another machine in the place of {_called(server)}? No key moves. Requests under way are "
        "answered first; the new machine is emptied, filled from the copies of its keys, and then put into "
        "service."
    )
    return Question(text, {"y": Choice("replace it", _request("replace", server, wait=False))})


def about_flushing(server: ServerSnapshot, has_copies: bool) -> Question:
    then = "Its keys have no copies: they miss until they are written anew."
    if has_copies:
        then = "Their copies are asked meanwhile, and written back as they are read."
    text = f"Empty {_called(server)}? It loses everything that it has. {then}"
    return Question(text, {"y": Choice("flush it", _request("flush_server", server, confirm="flush_all"))})


def about_migration(moving: MigrationSnapshot) -> Question:
    """What to do with the one under way."""
    words = {"pool": moving.pool}
    is_held = moving.state == "paused"
    if moving.state == "aborting":
        return Question(f"The migration of pool {moving.pool} is being given up.", {})
    held = ", held at this moment" if is_held else ""
    text = (
        f"Keys of pool {moving.pool} are moving to other servers{held}. Reads and writes are right. "
        "Aborted, what is not copied yet misses; to call it off without a loss, reload the servers of before."
    )
    other = Choice("pause it", Request("migration_pause", moving.pool, words))
    if is_held:
        other = Choice("go on", Request("migration_resume", moving.pool, words))
    return Question(
        text, {"p": other, "a": Choice("abort it", Request("migration_abort", moving.pool, words))}
    )


def about_force(request: Request, refusal: str) -> Question:
    """The proxy has refused, and would do it nevertheless."""
    text = f"{refusal}. Do it nevertheless? Keys without another live copy are then out of reach."
    return Question(text, {"f": Choice(f"{request.verb} it by force", request.forced())})


def _called(server: ServerSnapshot) -> str:
    role = "backup" if server.backup else "server"
    return f"the {role} {server.name}" + (f" ({server.address})" if server.address != server.name else "")


def _request(verb: str, server: ServerSnapshot, **words: Any) -> Request:
    which = {"server": server.name, "pool": server.pool, "backup": server.backup}
    return Request(verb, server.name, {**which, **words})
