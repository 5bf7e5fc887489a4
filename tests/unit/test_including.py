"""A file with what it includes is one tree, in which every node knows its own file."""

import os

import pytest

from memagent import config
from memagent.errors import ConfigError
from memagent.including import read_tree
from memagent.layers import entry, place_of
from memagent.reading import Mistakes
from tests.unit.test_layers import plain


@pytest.fixture
def files(tmp_path):
    def write(**texts):
        """x__y is x/y; the first is the one to read."""
        for name, text in texts.items():
            path = tmp_path / (name.replace("__", "/") + ".yaml")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return str(tmp_path / f"{next(iter(texts))}.yaml")

    return write


def tree(path):
    mistakes = Mistakes()
    root = read_tree(path, mistakes)
    mistakes.raise_if_any()
    return root


def mistake(path):
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    return caught.value.message.replace(os.path.dirname(path), "DIR").splitlines()


def test_the_including_file_wins_and_every_node_keeps_its_place(files):
    path = files(
        main="include: base.yaml\nworkers: 2\npools: {m: {copies: 2}}\n",
        base="workers: 1\ndrain_ms: 1s\npools:\n  m: {servers: [a, b], copies: 1}\n  n: {}\n",
    )
    root = tree(path)
    assert plain(root) == {
        "workers": "2", "drain_ms": "1s", "pools": {"m": {"servers": ["a", "b"], "copies": "2"}, "n": {}},
    }  # fmt: skip
    folder = os.path.dirname(path)
    assert str(place_of(entry(root, "drain_ms"))) == f"{folder}/base.yaml:2"
    assert str(place_of(entry(root, "workers"))) == f"{folder}/main.yaml:2"
    assert str(place_of(entry(entry(root, "pools"), "m"))) == f"{folder}/main.yaml:3"


def test_patterns_are_sorted_and_later_ones_win(files):
    path = files(
        main="include: ['d/*.yaml', none*.yaml, other.yaml]\n",
        d__20="{a: 20, b: 20}", d__10="{a: 10, b: 10, c: 10}", d__5="", other="{b: other}",
    )  # fmt: skip
    assert plain(tree(path)) == {"a": "20", "b": "other", "c": "10"}


def test_paths_are_relative_to_the_file_that_names_them(files, tmp_path):
    path = files(
        main="include: d/one.yaml",
        d__one=f"include: [two.yaml, {tmp_path}/three.yaml]",
        d__two="a: 1",
        three="b: 2",
    )
    assert plain(tree(path)) == {"a": "1", "b": "2"}


def test_a_file_whose_name_looks_like_a_pattern(files):
    assert plain(tree(files(main="include: 'a[1].yaml'", **{"a[1]": "a: 1"}))) == {"a": "1"}


def test_one_file_may_be_included_by_two(files):
    path = files(
        main="include: [a.yaml, b.yaml]", a="{include: c.yaml, a: 1}", b="include: c.yaml", c="{a: 2, c: 3}"
    )
    assert plain(tree(path)) == {"a": "2", "c": "3"}


def test_the_whole_way(files):
    path = files(main="include: pools/*.yaml\nworkers: 3", pools__users="pools: {users: {servers: [a]}}")
    whole = config.load(path, (), {"MEMAGENT_POOLS__USERS__SERVERS": "b,c"}).config
    assert (whole.workers, [server.address for server in whole.pools[0].servers]) == (3, ["b", "c"])


POOL = "pools: {m: {servers: [a]}}\n"
ONE = POOL + "include: a.yaml"


@pytest.mark.parametrize(
    ("main", "included", "says"),
    [
        (ONE, None, "DIR/main.yaml:2: include: DIR/a.yaml: no such file or directory"),
        (POOL + "include: .", "", "DIR/main.yaml:2: include: DIR/.: is a directory"),
        (POOL + 'include: "a\\0b"', "", "DIR/main.yaml:2: include: must be a path, a pattern"),
        (POOL + 'include: "a\\uD800*"', "", "DIR/main.yaml:2: include: must be a path, a pattern"),
        (POOL + "include:", "", "DIR/main.yaml:2: include: must be a path, a pattern"),
        (POOL + "include: [{a: b}]", "", "DIR/main.yaml:2: include: must be a path, a pattern"),
        ("include: a.yaml\n" + ONE, "", 'DIR/main.yaml:3: the setting "include" is there twice'),
        (
            POOL + "include: main.yaml",
            "",
            'DIR/main.yaml:2: include: "DIR/main.yaml" includes itself: DIR/main.yaml > DIR/main.yaml',
        ),
        (ONE, "\ninclude: main.yaml", 'DIR/a.yaml:2: include: "DIR/main.yaml" includes itself'),
        (ONE, "\n[x]", "DIR/a.yaml:2: must be a mapping of settings"),
        (ONE, "b: c\nd: {", "DIR/a.yaml:2: not valid YAML"),
        (ONE, "b: 1\nwokers: 2", 'DIR/a.yaml:2: unknown setting "wokers" (did you mean "workers"?)'),
        (POOL + "includ: a", "", 'DIR/main.yaml:2: unknown setting "includ" (did you mean "include"?)'),
        ("pools: {m: {servers: [a], include: b}}", "", "(it belongs at the root of the file)"),
        ("include: a.yaml", "", 'DIR/main.yaml:1: the setting "pools" is missing'),
    ],
)
def test_a_mistake_names_its_file_and_line(files, main, included, says):
    path = files(main=main) if included is None else files(main=main, a=included)
    assert any(says in line for line in mistake(path))


def test_mistakes_are_told_file_by_file(files):
    lines = mistake(
        files(main=POOL + "include: [a.yaml, b.yaml]\nx: 1\ny: 2", a="x2: 1\nx3: 1", b="\n\nx4: 1\n")
    )
    assert [line.partition(": ")[0] for line in lines] == [
        "DIR/a.yaml:1", "DIR/a.yaml:2", "DIR/b.yaml:3", "DIR/main.yaml:3", "DIR/main.yaml:4",
    ]  # fmt: skip


def test_it_ends(files):
    deep = {f"f{n}": f"include: f{n + 1}.yaml" for n in range(20)}
    assert "more than 10 deep" in mistake(files(**deep))[0]
    twofold = {f"f{n}": f"include: [f{n + 1}.yaml, ./f{n + 1}.yaml]" for n in range(9)}
    assert "more than 256 files" in mistake(files(**twofold, f9=""))[0]
    large = {"main": "include: [" + ", ".join(["a.yaml"] * 6) + "]", "a": "#" * 1_000_000}
    assert "more than 4 MiB" in mistake(files(**large))[0]
