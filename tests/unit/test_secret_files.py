"""A secret is taken from a file that nobody else may have written, and shown nowhere."""

import os

import pytest
from pydantic import ValidationError

from memagent import config, environment
from memagent.errors import ConfigError
from memagent.layers import compose, join
from memagent.reading import Mistakes
from memagent.rows import Count, Secret, secret_of, setting, settings_of
from memagent.secret_files import read_secret
from memagent.settings import Config, PoolConfig, ServerConfig, Table

TOKEN = "open-sesame"


class Guarded(Table):
    token: Secret | None = setting("What opens the door", None, shown="none")
    workers: Count = setting("Others", 1, "count", ge=1, le=5)


@pytest.fixture
def secret_file(tmp_path):
    def write(content: bytes, mode: int = 0o600) -> str:
        path = tmp_path / "token"
        path.write_bytes(content)
        path.chmod(mode)
        return str(path)

    return write


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"a b", "a b"),
        (b"a\n", "a"),
        (b"a\r\n", "a"),
        (b"a\n\n", "a\n"),
        ("\ufeffé\n".encode(), "é"),
        (b"", ""),
    ],
)
def test_the_content_without_the_newline_at_its_end(secret_file, content, text):
    assert read_secret(secret_file(content)) == (text, False)


def test_who_else_may_read_it(secret_file):
    assert read_secret(secret_file(b"a", 0o444)).readable_by_all
    assert not read_secret(secret_file(b"a", 0o440)).readable_by_all


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        (b"a", 0o620, "others may write it"),
        (b"a", 0o602, "others may write it"),
        (b"\xff", 0o600, "is not UTF-8"),
        (b"a" * 65_537, 0o600, "larger than 64 KiB"),
    ],
)
def test_a_file_that_is_refused(secret_file, content, mode, says):
    with pytest.raises(ValueError, match=says):
        read_secret(secret_file(content, mode))


def test_somebody_elses_file(secret_file, monkeypatch):
    path = secret_file(b"a")
    os.chown(path, 12345, -1) if os.geteuid() == 0 else monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(ValueError, match="others may write it"):
        read_secret(path)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, says in (
        (tmp_path / "pipe", "no regular file"),
        (tmp_path, "is a directory"),
        (tmp_path / "none", "no such file"),
        ("token", "an absolute path"),
        ("/a\0b", "an absolute path"),
    ):
        with pytest.raises(ValueError, match=says):
            read_secret(str(path))


# ---------------------------------------------------------------- as a setting


def read(text, model=Guarded):
    mistakes = Mistakes()
    table = config._Reader(mistakes)._table(model, compose(text, "m.yaml"), "", {})
    mistakes.raise_if_any()
    return table, mistakes.warnings


def test_a_secret_is_seen_by_who_asks_for_it_and_by_nobody_else(secret_file):
    for text in (f"token: {TOKEN}", f"token_file: {secret_file(TOKEN.encode() + bytes([10]))}"):
        table, warnings = read(text)
        assert table.token.get_secret_value() == TOKEN
        assert not warnings
        assert TOKEN not in f"{table!r} {table} {table.model_dump()} {table.model_dump_json()}"
    assert read("token: null")[0].token is None


def test_a_file_that_all_may_read_brings_a_warning(secret_file):
    table, warnings = read(f"token_file: {secret_file(TOKEN.encode(), 0o644)}")
    assert table.token.get_secret_value() == TOKEN
    assert len(warnings) == 1
    assert warnings[0].startswith("m.yaml:1: token_file: ")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f'token: "{TOKEN}\\n"', "m.yaml:1: token: must be 1-4096 characters on one line"),
        (
            f"token: {TOKEN}\ntoken_file: /x",
            "m.yaml:2: token is given twice: write either token or token_file",
        ),
        ("token_file: /none/at/all", 'm.yaml:1: token_file: "/none/at/all": no such file'),
        ("token_file: [a]", "m.yaml:1: token_file: must be a single value"),
        ("workers_file: /x", 'm.yaml:1: unknown setting "workers_file" (did you mean "workers"?)'),
        ("token_flie: /x", 'm.yaml:1: unknown setting "token_flie"'),
        (f"token: [{TOKEN}]", "m.yaml:1: token: must be a single value"),
    ],
)
def test_a_mistake_does_not_show_it(text, says):
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert says in caught.value.message
    assert TOKEN not in f"{caught.value}{caught.value.hint}"


def test_an_empty_file_is_no_secret(secret_file):
    with pytest.raises(ConfigError, match="must be 1-4096 characters"):
        read(f"token_file: {secret_file(bytes([10]))}")


def test_pydantic_does_not_show_it_either():
    with pytest.raises(ValidationError) as caught:
        Guarded.model_validate({"token": TOKEN + "\n"})
    assert TOKEN not in str(caught.value)


def test_in_the_environment(monkeypatch):
    monkeypatch.setattr(environment, "Config", Guarded)
    given = {"MEMAGENT_TOKEN_FILE": "/run/token"}
    assert [(each.path, each.node.value) for each in environment.read(given, (), Mistakes())] == [
        (("token_file",), "/run/token")
    ]
    mistakes = Mistakes()
    environment.read({"MEMAGENT_WORKERS_FILE": "/x"}, (), mistakes)
    with pytest.raises(ConfigError, match="no such setting"):
        mistakes.raise_if_any()


@pytest.mark.parametrize(
    ("lower", "upper", "left"),
    [
        ("token: a", "token_file: /b", ["token_file"]),
        ("token_file: /a", "token: b", ["token"]),
        ("pools: {a: {}, a_file: {}}", "pools: {a: {x: 1}}", ["pools"]),
    ],
)
def test_the_upper_layer_decides_which_way_it_is_given(lower, upper, left):
    joined = join(compose(lower, "l"), compose(upper, "u"))
    assert [key.value for key, _ in joined.value] == left
    assert all(len(pools.value) == 2 for key, pools in joined.value if key.value == "pools")


def test_no_two_settings_are_taken_for_one():
    for model in (Config, PoolConfig, ServerConfig, Guarded):
        rows = settings_of(model)
        assert not [name for name in rows if f"{name}_file" in rows]
    assert secret_of(Guarded, "token_file") == "token"
    assert secret_of(Guarded, "workers_file") is None
    assert secret_of(Guarded, "token") is None
    assert settings_of(Guarded)["token"].allowed == "1-4096 characters on one line; or `token_file`"
