"""What is asked before something is done."""

from dataclasses import replace

from memagent.questions import (
    about_flushing,
    about_force,
    about_migration,
    about_refilling,
    about_replacing,
    about_service,
)
from tests.support.control_stand_in import MOVING, SERVER, WARM

WHICH = {"server": "a", "pool": "main", "backup": False}


def requests_of(question):
    return {key: (each.request.verb, dict(each.request.words)) for key, each in question.choices.items()}


def test_out_of_service():
    question = about_service(SERVER, True)
    assert question.text.startswith("Take the server a (10.0.0.1:11211) out of service? Requests under way")
    assert requests_of(question) == {"y": ("drain", {**WHICH, "wait": False})}


def test_what_has_no_copies_is_out_of_reach():
    assert "its keys are out of reach, as they have no copies" in about_service(SERVER, False).text
    assert "copies of its keys" in about_service(SERVER, True).text


def test_back_into_service():
    question = about_service(replace(SERVER, held=True, state="drained", backup=True), True)
    assert question.text.startswith("Take the backup a (10.0.0.1:11211) back into service?")
    assert requests_of(question) == {"y": ("undrain", {**WHICH, "backup": True, "wait": False})}


def test_a_server_without_a_name_is_called_once():
    question = about_service(replace(SERVER, name=SERVER.address), True)
    assert question.text.startswith("Take the server 10.0.0.1:11211 out of service?")


def test_a_re_warm():
    assert requests_of(about_refilling(SERVER)) == {"y": ("rewarm", {**WHICH, "wait": False})}
    over = replace(SERVER, state="warming", warm=replace(WARM, state="done"))
    assert list(about_refilling(over).choices) == ["y"]


def test_of_a_re_warm_under_way():
    running = replace(SERVER, state="warming", warm=WARM)
    question = about_refilling(running)
    assert "is under way. Aborted," in question.text
    assert requests_of(question) == {"p": ("rewarm_pause", WHICH), "a": ("rewarm_abort", WHICH)}
    paused = about_refilling(replace(running, warm=replace(WARM, state="paused")))
    assert "is paused. Aborted," in paused.text
    assert requests_of(paused) == {"p": ("rewarm_resume", WHICH), "a": ("rewarm_abort", WHICH)}


def test_what_is_refused_can_be_forced():
    refused = about_service(SERVER, True).choices["y"].request
    question = about_force(refused, "a holds the only copy of its keys")
    assert question.text.startswith("a holds the only copy of its keys. Do it nevertheless?")
    assert requests_of(question) == {"f": ("drain", {**WHICH, "wait": False, "force": True})}
    assert "force" not in refused.words


def test_another_machine():
    question = about_replacing(SERVER)
    assert "in the place of the server a (10.0.0.1:11211)? No key moves." in question.text
    assert requests_of(question) == {"y": ("replace", {**WHICH, "wait": False})}


def test_emptying_it():
    question = about_flushing(SERVER, True)
    assert question.text.startswith("Empty the server a (10.0.0.1:11211)?")
    assert requests_of(question) == {"y": ("flush_server", {**WHICH, "confirm": "flush_all"})}
    assert "they miss until they are written anew" in about_flushing(SERVER, False).text


def test_keys_that_move():
    main = {"pool": "main"}
    question = about_migration(MOVING)
    assert question.text.startswith(
        "Keys of pool main are moving to other servers. Reads and writes are right."
    )
    assert requests_of(question) == {"p": ("migration_pause", main), "a": ("migration_abort", main)}
    held = about_migration(replace(MOVING, state="paused"))
    assert "servers, held at this moment. " in held.text
    assert requests_of(held)["p"] == ("migration_resume", main)
    assert about_migration(replace(MOVING, state="aborting")).choices == {}
