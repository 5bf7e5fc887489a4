"""What may be done now: each says what it will do, and how the API is asked for it.

ServerSnapshot ────▶ questions ─▶ Action: POST /v1/servers/POOL/NAME/`path` with `body` and the fields
MigrationSnapshot ─▶ questions ─▶ Action: POST /v1/migrations/POOL/`path`
"""

from typing import Any, Final

from pydantic import BaseModel

from memagent.questions import (
    Question,
    about_flushing,
    about_migration,
    about_refilling,
    about_replacing,
    about_service,
)
from memagent.snapshot import MigrationSnapshot, ServerSnapshot

_PATHS: Final = {
    "rewarm_pause": "rewarm/pause",
    "rewarm_resume": "rewarm/resume",
    "rewarm_abort": "rewarm/abort",
    "flush_server": "flush",
    "migration_pause": "pause",
    "migration_resume": "resume",
    "migration_abort": "abort",
}
_DANGEROUS: Final = ("flush_server", "rewarm_abort", "migration_abort")


class Field(BaseModel):
    """What is asked beside it: a text, or yes or no where `value` is one."""

    name: str
    label: str
    value: str | bool = ""
    required: bool = False


class Action(BaseModel):
    label: str
    text: str
    path: str
    body: dict[str, Any]
    fields: list[Field] = []
    is_dangerous: bool = False


_FIELDS: Final = {
    "replace": [
        Field(name="address", label="The new machine's address (host:port)", required=True),
        Field(name="keep_data", label="keep what it has, do not empty it", value=False),
    ]
}


def actions_of(server: ServerSnapshot, has_copies: bool) -> list[Action]:
    """The usual first."""
    questions = [about_service(server, has_copies)]
    if has_copies:
        questions.append(about_refilling(server))
    questions += [about_replacing(server), about_flushing(server, has_copies)]
    return [action for question in questions for action in _actions(question)]


def actions_of_migration(moving: MigrationSnapshot) -> list[Action]:
    return _actions(about_migration(moving))


def _actions(question: Question) -> list[Action]:
    found = []
    for choice in question.choices.values():
        verb = choice.request.verb
        body = {"confirm": "flush_all"} if verb == "flush_server" else {}
        found.append(
            Action(
                label=choice.label.capitalize(),
                text=question.text,
                path=_PATHS.get(verb, verb),
                body=body,
                fields=_FIELDS.get(verb, []),
                is_dangerous=verb in _DANGEROUS,
            )
        )
    return found
