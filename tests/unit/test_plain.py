"""Dataclasses through JSON and back."""

import json
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from memagent.plain import as_json, from_json, kinds_of, read_one, write_one


@dataclass(frozen=True)
class Leaf:
    name: str
    share: float
    type: Literal["leaf"] = "leaf"


@dataclass(frozen=True)
class Tree:
    leaves: tuple[Leaf, ...]
    counts: dict[str, int]
    best: Leaf | None
    anything: Any
    count: int = 3
    is_tall: bool = False
    type: Literal["tree"] = "tree"


KINDS = kinds_of(Leaf | Tree)
LEAF = Leaf("naïve", 0.5)
WHOLE = Tree((LEAF, Leaf("b", 1)), {"a": 1}, None, {"x": [1, None]})


def test_json_and_back():
    assert from_json(Tree, json.loads(json.dumps(as_json(WHOLE))), strict=True) == WHOLE
    assert [read_one(KINDS, write_one(each), strict=True) for each in (WHOLE, LEAF)] == [WHOLE, LEAF]


def test_what_has_a_default_may_be_missing():
    less = {"leaves": [], "counts": {}, "best": as_json(LEAF), "anything": 1}
    assert from_json(Tree, less) == Tree((), {}, LEAF, 1)


def test_more_is_passed_over_or_a_mistake():
    more = {**as_json(LEAF), "mood": "good"}
    assert from_json(Leaf, more) == LEAF
    with pytest.raises(ValueError, match="Leaf has no 'mood'"):
        from_json(Leaf, more, strict=True)
    with pytest.raises(ValueError, match="leaves: Leaf has no 'mood'"):
        from_json(Tree, {**as_json(WHOLE), "leaves": [more]}, strict=True)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("leaves", "ab", "leaves: not a list"),
        ("leaves", [1], "leaves: Leaf: not an object"),
        ("leaves", [{"name": "a"}], "leaves: Leaf: share is missing"),
        ("leaves", [{"name": 1, "share": 1}], "leaves: name: '1' cannot be"),
        ("counts", [], "counts: not an object"),
        ("counts", {"a": "1"}, "counts: '1' cannot be"),
        ("best", 5, "best: Leaf: not an object"),
        ("count", 1.0, "count: '1.0' cannot be"),
        ("count", True, "count: 'True' cannot be"),
        ("is_tall", 0, "is_tall: '0' cannot be"),
        ("type", [], r"type: '\[\]' cannot be"),
    ],
)
def test_a_value_that_cannot_be(name, value, problem):
    with pytest.raises(ValueError, match=f"^{problem}$"):
        from_json(Tree, {**as_json(WHOLE), name: value})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"[]", "not an object"),
        (b"{}", "its type is none of leaf, tree"),
        (b'{"type": ["leaf"]}', "its type is none of leaf, tree"),
        (b"[" * 100_000, "nested too deeply"),
        (b"\xff", "utf-8"),
        (b"{", "Expecting"),
    ],
)
def test_text_that_is_none_of_them(text, problem):
    with pytest.raises(ValueError, match=problem):
        read_one(KINDS, text)


def test_text_that_is_no_utf8_is_not_written():
    with pytest.raises(ValueError, match="surrogates"):
        write_one(Leaf("\udcff", 0))
