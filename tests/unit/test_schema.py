"""The schema takes what the reader takes, and refuses what an editor can know to be wrong."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from memagent import config
from memagent.errors import ConfigError
from memagent.rows import Secret, setting, settings_of
from memagent.schema import _table, schema
from memagent.settings import Config, PoolConfig, ServerConfig, Table
from memagent.units import (
    COUNT_PATTERN,
    SIZE_PATTERN,
    SWITCH_PATTERN,
    TIME_PATTERN,
    parse_bytes,
    parse_count,
    parse_ms,
    parse_switch,
)

CONF = Path(__file__).parents[2] / "conf"
VALIDATOR = Draft7Validator(schema())


def problems(text: str) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(yaml.safe_load(text))]


def test_it_is_a_schema_and_knows_every_setting():
    Draft7Validator.check_schema(schema())
    whole = schema()
    tables = (
        (Config, whole),
        (PoolConfig, whole["definitions"]["pool"]),
        (ServerConfig, whole["definitions"]["server"]),
    )
    for model, table in tables:
        rows = settings_of(model)
        files = {f"{row.name}_file" for row in rows.values() if row.secret}
        assert rows.keys() | files == table["properties"].keys() - {"include"}
        assert table["additionalProperties"] is False
        for row in settings_of(model).values():
            text = table["properties"][row.name]["description"]
            assert row.description in text
            assert row.allowed in text
            assert row.default is None or row.default in text
            if "default" in table["properties"][row.name]:
                assert Draft7Validator(table["properties"][row.name]).is_valid(
                    table["properties"][row.name]["default"]
                )
    pool = whole["definitions"]["pool"]["properties"]
    assert [pool[name]["default"] for name in ("copies", "rewarm", "probe_max_ms", "fallback")] == [
        1,
        True,
        "5s",
        "always",
    ]
    assert "default" not in pool["servers"]


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_good(path):
    assert problems(path.read_text()) == []


@pytest.mark.parametrize(
    "text",
    [
        "wokers: 2",
        "workers: 0",
        "workers: many",
        "workers: 2s",
        "workers: 010s",
        "listen: 11211",
        "listen: [0]",
        "drain_ms: 1week",
        "drain_ms: -1",
        "max_item_bytes: 1kB",
        "daemon: maybe",
        "daemon: 2",
        "daemon: null",
        "user: a b",
        "log_file: magent.log",
        "include: {}",
        "pools: [a]",
        "pools: {a b: {}}",
        "pools: {m: {distribution: katama}}",
        "pools: {m: {workers: 2}}",
        "pools: {m: {hash_tag: '{'}}",
        "pools: {m: {copies: 3}}",
        "pools: {m: {servers: a}}",
        "pools: {m: {servers: [{name: a}]}}",
        "pools: {m: {servers: [{address: a, weight: 0}]}}",
        "pools: {m: {servers: [{address: a, wieght: 1}]}}",
        "[]",
    ],
)
def test_a_wrong_file_is_wrong(text):
    assert problems(text)


GOOD: dict[str, list[Any]] = {
    "count": ["{least}", "{most}", '"{least}"', "!!str {most}"],
    "ms": ["{least}", "{most}", "{most}ms", '"{most} ms"'],
    "bytes": ["{least}", "{most}", "{most}B", "{most} b"],
    "switch": ["true", "no", "ON", "0", "1"],
}


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("{}", "workers: auto"),
        ("{}", "include: [a, 'b/*']"),
        ("{}", "include: a"),
        ("{}", "user: 1000"),
        ("{}", "user: null"),
        ("{}", "log_file: ~"),
        ("{}", "listen: [11211, '*', 'unix:/x']"),
        ("{}", "worker_buffer_bytes: 1_000m"),
        ("{}", "drain_ms: 1.5s"),
        ("pools: {{m: {{{}}}}}", 'hash_tag: ""'),
        ("pools: {{m: {{{}}}}}", "hash_tag: '{{}}'"),
        ("pools: {{m: {{{}}}}}", "servers: [a, {address: b, name: 7, weight: 2}]"),
        ("pools: {{m: {{{}}}}}", "get_when_down: miss"),
    ],
)
def test_a_right_file_is_right(where, text):
    assert problems(where.format(text.replace("{{", "{").replace("}}", "}"))) == []


def test_every_choice_and_every_bound():
    for model, inside in (Config, "{}"), (PoolConfig, "pools: {{m: {{{}}}}}"):
        for row in settings_of(model).values():
            for text in GOOD.get(row.unit or "", []):
                least, most = _bounds(model, row.name) if row.unit != "switch" else (0, 1)
                value = text.format(least=least, most=most)
                assert problems(inside.format(f"{row.name}: {value}")) == [], (row.name, value)
            for choice in row.allowed.removeprefix("one of ").split(", ") if "one of " in row.allowed else ():
                assert problems(inside.format(f"{row.name}: {choice}")) == []


def why_not(parse, text) -> str | None:
    try:
        parse(text)
    except ValueError as error:
        return str(error)
    return None


def _bounds(model, name):
    field = model.model_fields[name]
    return (
        next(item.ge for item in field.metadata if hasattr(item, "ge")),
        next(item.le for item in field.metadata if hasattr(item, "le")),
    )


def test_a_secret_can_be_given_in_a_file():
    class Guarded(Table):
        token: Secret | None = setting("What opens the door", None, shown="none")

    table = Draft7Validator(_table(Guarded))
    for good in ({"token": "x"}, {"token": None}, {"token_file": "/run/token"}):
        assert table.is_valid(good)
    for bad in ({"token": ""}, {"token_file": "token"}, {"token_fil": "/x"}):
        assert not table.is_valid(bad)


@pytest.mark.parametrize(
    ("pattern", "parse"),
    [
        (COUNT_PATTERN, parse_count),
        (TIME_PATTERN, parse_ms),
        (SIZE_PATTERN, parse_bytes),
        (SWITCH_PATTERN, parse_switch),
    ],
)
def test_patterns_take_what_the_parsers_take(pattern, parse):
    alphabet = st.text(alphabet="0123456789_. \tusmhdbBkKiIgGtrueTRUEoOnNfFalsyYES", max_size=8)
    shaped = st.builds("{}{}{}".format, st.integers(0, 999), st.sampled_from(["", ".5", ".0"]), alphabet)

    @given(alphabet | shaped | st.from_regex(pattern, fullmatch=True).filter(lambda text: len(text) < 19))
    @settings(max_examples=300)
    def agree(text):
        text = text.rstrip("\n")
        wrong = why_not(parse, text)
        if re.search(pattern, text):
            assert wrong is None or "must be a whole number of" in wrong
        else:
            assert wrong is not None

    agree()


@given(st.dictionaries(st.sampled_from([*settings_of(Config), "x"]), st.integers() | st.text() | st.none()))
@settings(max_examples=100)
def test_what_the_reader_takes_the_schema_takes(found):
    text = yaml.safe_dump({**found, "pools": {"m": {"servers": ["a"]}}}, allow_unicode=True)
    try:
        config.parse(text, "m.yaml")
    except ConfigError:
        return
    assert problems(text) == []
