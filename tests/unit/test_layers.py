"""Nodes that know where they were written, and layers of them."""

import pytest
from yaml import MappingNode

from memagent.errors import ConfigError
from memagent.layers import Override, compose, entry, mapping, place_of, put, scalar, sequence


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
    put(
        root,
        [Override(("p", "m", "y"), sequence([scalar("3", "V")], "V")), Override(("a",), scalar("2", "-a"))],
    )
    assert plain(root) == {"p": {"m": {"x": "1", "y": ["3"]}, "n": {"x": "2"}}, "a": "2"}
    assert str(place_of(entry(root, "a"))) == "-a"
    assert str(place_of(entry(root, "p"))) == "f.yaml:2"


def test_an_override_makes_the_mappings_that_it_needs():
    root = mapping("nowhere")
    put(root, [Override(("p", "m", "x"), scalar("1", "V")), Override(("p", "m", "y"), scalar("2", "W"))])
    assert plain(root) == {"p": {"m": {"x": "1", "y": "2"}}}
    assert str(place_of(entry(root, "p"))) == "V"


@pytest.mark.parametrize("text", ["[]", "p: 1", "p: [m]", "p: {m: }"])
def test_what_is_no_mapping_is_left_as_it_is(text):
    root = compose(text, "f.yaml")
    before = plain(root)
    put(root, [Override(("p", "m", "x"), scalar("1", "V"))])
    assert plain(root) == before


def test_none_is_written_as_in_yaml():
    assert [scalar(text, "V").tag.rpartition(":")[2] for text in ("null", "~", "", "x")] == [
        "null",
        "null",
        "str",
        "str",
    ]
