"""magent's flags: each reaches its setting, and -c is read as what it is."""

from pathlib import Path

import pytest

from memagent.cli.flags import MAGENT_FLAGS, load_any, load_magent, to_flags
from memagent.config import Loaded
from memagent.errors import ConfigError
from memagent.layers import mapping
from memagent.legacy import Flags, Given
from memagent.settings import Config

TEXT = {
    name: ("x",) if name in ("servers", "backups") else "x"
    for _, name, placeholder, _ in MAGENT_FLAGS
    if placeholder
}


def test_no_flag_is_no_setting():
    assert to_flags({}) == Flags()


@pytest.mark.parametrize(
    ("flag", "name"), [(flag, name) for flag, name, placeholder, _ in MAGENT_FLAGS if placeholder]
)
def test_a_flag_with_a_value_keeps_its_text_and_source(flag, name):
    value = getattr(to_flags({name: TEXT[name]}), name)
    assert value in (Given("x", flag), (Given("x", flag),))


def test_switches():
    given = to_flags({"ketama": True, "verbose": True, "foreground": True})
    assert given == Flags(
        ketama=Given("true", "-k"), verbose=Given("true", "-v"), daemon=Given("false", "-D")
    )


def test_every_flag_of_magent_is_there():
    assert sorted(flag for flag, *_ in MAGENT_FLAGS) == sorted("-" + letter for letter in "ugpsblnDkfiv")


@pytest.mark.parametrize("ending", ["conf", "ini", "CONF"])
def test_an_ini_file_is_known_by_its_ending(tmp_path: Path, ending: str):
    path = tmp_path / f"magent.{ending}"
    path.write_text("[General]\nmasters=a\n")
    assert load_any(str(path)).pools[0].key_hash == "djb"


@pytest.mark.parametrize("ending", ["yaml", "yml", "json", "cfg", ""])
def test_anything_else_is_yaml(tmp_path: Path, ending: str):
    path = tmp_path / f"magent.{ending}"
    path.write_text('{"pools": {"main": {"servers": ["a"]}}}')
    assert load_any(str(path), foreground=True, verbose=True).verbose


def test_warnings_are_told_and_do_no_harm(monkeypatch, capsys):
    found = Loaded(
        Config.model_validate({"pools": [{"name": "m", "servers": ["a"]}]}), mapping("x"), ("take care",)
    )
    monkeypatch.setattr("memagent.config.load", lambda *_: found)
    assert load_any("m.yaml") is found.config
    assert capsys.readouterr() == ("", "magent: warning: take care\n")


def test_yaml_among_magents_flags_is_a_mistake_with_a_way_out():
    with pytest.raises(ConfigError) as caught:
        load_magent("m.yml", Flags(), "go there")
    assert caught.value.hint == "go there"
