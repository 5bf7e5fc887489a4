"""Nodes that know where they were written, and layers of them."""

import pytest
from yaml import MappingNode

from memagent.errors import ConfigError
from memagent.layers import Override, compose, entry, join, lay, mapping, place_of, scalar, sequence


def plain(node):
    """Texts, lists and dictionaries."""
    if isinstance(node, MappingNode):
        return {key.value: plain(value) for key, value in node.value}
    return [plain(each) for each in node.value] if isinstance(node.value, list) else node.value


def places(node, path=""):
    yield path, str(place_of(node))
    if isinstance(node, MappingNode):
        for key, value in node.value:
            yield from places(value, f"{path}.{key.value}")


def test_a_node_knows_its_file_and_line():
    root = compose("a: 1\nb:\n  c: [x]\n", "f.yaml")
    assert dict(places(root)) == {"": "f.yaml:1", ".a": "f.yaml:1", ".b": "f.yaml:3", ".b.c": "f.yaml:3"}


def test_what_stands_in_a_variable_has_no_line():
    assert str(place_of(compose("a:\n  b", "VARIABLE", numbered=False))) == "VARIABLE"
    for text in ("{", "a: *b", "a: \0", '"\\UFFFFFFFF"'):
        with pytest.raises(ConfigError, match=r"^VARIABLE: not valid YAML"):
            compose(text, "VARIABLE", numbered=False)


def test_a_text_that_says_nothing():
    assert compose("# nothing\n", "f.yaml") is None


def test_an_override_replaces_what_is_there_and_leaves_the_rest():
    root = compose("a: 1\np: {m: {x: 1, y: [1, 2]}, n: {x: 2}}", "f.yaml")
    above = [
        Override(("p", "m", "y"), sequence([scalar("3", "V")], "V")),
        Override(("a",), scalar("2", "-a")),
    ]
    laid = lay(root, above)
    assert plain(laid) == {"a": "2", "p": {"m": {"x": "1", "y": ["3"]}, "n": {"x": "2"}}}
    assert dict(places(laid)) == {
        "": "f.yaml:1", ".a": "-a", ".p": "f.yaml:2", ".p.m": "f.yaml:2", ".p.m.x": "f.yaml:2", ".p.m.y": "V",
        ".p.n": "f.yaml:2", ".p.n.x": "f.yaml:2",
    }  # fmt: skip


def test_an_override_makes_the_mappings_that_it_needs():
    laid = lay(
        mapping("nowhere"),
        [Override(("p", "m", "x"), scalar("1", "V")), Override(("p", "m", "y"), scalar("2", "W"))],
    )
    assert plain(laid) == {"p": {"m": {"x": "1", "y": "2"}}}
    assert str(place_of(entry(laid, "p"))) == "V"


def test_an_override_meant_for_one_alias_is_not_for_the_other():
    root = compose("p: {m: &m {x: 1}, n: *m}", "f.yaml")
    assert plain(lay(root, [Override(("p", "m", "x"), scalar("2", "V"))])) == {
        "p": {"m": {"x": "2"}, "n": {"x": "1"}}
    }


@pytest.mark.parametrize("text", ["[]", "p: 1", "p: [m]", "p: {m: }"])
def test_what_is_no_mapping_gives_way(text):
    assert plain(lay(compose(text, "f.yaml"), [Override(("p", "m"), scalar("1", "V"))])) == {"p": {"m": "1"}}


@pytest.mark.parametrize(
    ("lower", "upper", "both"),
    [
        ("{a: 1, b: 2}", "{b: 3, c: 4}", {"a": "1", "b": "3", "c": "4"}),
        ("{l: [1, 2]}", "{l: [3]}", {"l": ["3"]}),
        (
            "{p: {m: {x: 1, y: 1}, n: {}}}",
            "{p: {m: {x: 2}, o: {}}}",
            {"p": {"m": {"x": "2", "y": "1"}, "n": {}, "o": {}}},
        ),
        ("{p: {m: {x: {y: 1}}}}", "{p: {m: {x: {z: 1}}}}", {"p": {"m": {"x": {"z": "1"}}}}),
        ("&r {p: *r}", "&r {p: *r}", None),
    ],
)
def test_joining(lower, upper, both):
    joined = join(compose(lower, "l.yaml"), compose(upper, "u.yaml"))
    if both is not None:
        assert plain(joined) == both
    assert str(place_of(joined)) == "u.yaml:1"


def test_joining_keeps_what_stands_twice_for_the_reader_to_see():
    joined = join(compose("{a: 1, b: 1, b: 2}", "l.yaml"), compose("{[x]: 1, a: 2, a: 3}", "u.yaml"))
    assert [key.value for key, _ in joined.value if isinstance(key.value, str)] == ["a", "b", "b", "a"]


def test_none_is_written_as_in_yaml():
    assert [scalar(text, "V").tag.rpartition(":")[2] for text in ("null", "~", "", "x")] == [
        "null",
        "null",
        "str",
        "str",
    ]
