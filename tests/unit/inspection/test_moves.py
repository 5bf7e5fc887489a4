"""Keys are counted by what becomes of them: owner, machine, copy, lost."""

from itertools import islice

from memagent.inspection.moves import count_moves, made_up_keys
from memagent.inspection.places import Places
from memagent.settings import PoolConfig
from memagent.topology import make_placement

KEYS = list(made_up_keys(2_000))


def places(*servers, **settings):
    pool = PoolConfig.model_validate({"name": "m", "servers": servers, **settings})
    return Places(pool, make_placement(pool))


def named(name, address):
    return {"name": name, "address": address}


def test_nothing_moves():
    for settings in {}, {"copies": 2}, {"backups": ["x", "y"]}:
        moves = count_moves(KEYS, places("a", "b", "c", **settings), places("c", "a", "b", **settings))
        assert (moves.keys, moves.owners, moves.machines, moves.copies, moves.lost) == (2_000, 0, 0, 0, 0)


def test_every_count_agrees_with_the_rings():
    old, new = places("a", "b", "c"), places("a", "b", "c", "d")
    moved = sum(old.of(key)[0] != new.of(key)[0] for key in KEYS)
    moves = count_moves(KEYS, old, new)
    assert (moves.owners, moves.machines, moves.copies, moves.lost) == (moved, moved, 0, moved)
    assert 0 < moved < len(KEYS) / 2


def test_another_machine_under_the_same_name():
    old, new = (places(named("n", address), "b") for address in ("a", "z"))
    there = sum(old.of(key)[0].name == "n" for key in KEYS)
    moves = count_moves(KEYS, old, new)
    assert (moves.owners, moves.machines, moves.lost) == (0, there, there)


def test_another_name_for_the_same_machine_is_no_other_owner():
    moves = count_moves(
        KEYS, places("a", distribution="modula"), places(named("n", "a"), distribution="modula")
    )
    assert (moves.owners, moves.machines, moves.lost) == (0, 0, 0)


def test_a_copy_saves_what_moves():
    """One of three goes: its keys are on the copy, which is asked."""
    old, new = places("a", "b", "c", copies=2), places("a", "b", copies=2)
    moves = count_moves(KEYS, old, new)
    assert moves.owners == sum(old.of(key)[0].name.startswith("c:") for key in KEYS)
    assert moves.lost == 0
    assert moves.copies > 0
    always, never = (
        count_moves(KEYS, old, places("a", "b", "d", copies=2, fallback=fallback))
        for fallback in ("always", "never")
    )
    assert always.lost < never.lost


def test_copies_that_are_new_and_copies_that_go():
    with_copies, without = places("a", "b", "c", copies=2), places("a", "b", "c")
    assert count_moves(KEYS, without, with_copies).copies == len(KEYS)
    assert count_moves(KEYS, with_copies, without).copies == 0


def test_made_up_keys_differ():
    assert len(set(islice(made_up_keys(100), 100))) == 100
