"""Environment variables become settings; whatever begins with MEMAGENT_ and is none is a mistake."""

import pytest

from memagent import environment
from memagent.errors import ConfigError
from memagent.layers import place_of
from memagent.reading import Mistakes
from memagent.rows import settings_of
from memagent.settings import Config, PoolConfig
from tests.unit.test_layers import plain


def read(environ, *pools):
    mistakes = Mistakes()
    overrides = environment.read(
        {f"MEMAGENT_{name}": text for name, text in environ.items()}, pools, mistakes
    )
    mistakes.raise_if_any()
    for override in overrides:
        assert str(place_of(override.node)).startswith("MEMAGENT_")
    return {".".join(override.path): plain(override.node) for override in overrides}


def mistake(environ, *pools):
    with pytest.raises(ConfigError) as caught:
        read(environ, *pools)
    return caught.value.message


def test_every_setting_can_be_given():
    for name in settings_of(Config).keys() - {"pools"}:
        assert environment.variable_of((name,)) == f"MEMAGENT_{name.upper()}"
        assert list(read({name.upper(): "x"})) == [name]
    for name in settings_of(PoolConfig):
        assert list(read({f"POOLS__MAIN__{name.upper()}": "x"})) == [f"pools.main.{name}"]


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("a", ["a"]),
        (" a:1 ,b:2,\n", ["a:1", "b:2"]),
        ("", []),
        ("[::1]:1,[::2]:2", ["[::1]:1", "[::2]:2"]),
        ('{address: "a:1", weight: 2}, b', [{"address": "a:1", "weight": "2"}, "b"]),
        ('[{"address": "a", "name": "n"}, "b"]', [{"address": "a", "name": "n"}, "b"]),
        ("- {address: a}", None),
    ],
)
def test_lists(text, items):
    if items is None:
        assert "MEMAGENT_POOLS__M__SERVERS: not valid YAML" in mistake({"POOLS__M__SERVERS": text})
    else:
        assert read({"POOLS__M__SERVERS": text}) == {"pools.m.servers": items}


@pytest.mark.parametrize(
    ("written", "pools", "meant"),
    [
        ("MAIN", [], "main"),
        ("Main", [], "main"),
        ("MAIN", ["Main"], "Main"),
        ("USERS_EU", ["users-eu", "users-us"], "users-eu"),
        ("users.eu", ["users-eu"], "users-eu"),
        ("A__B", ["a--b"], "a--b"),
        ("USERS_EU", ["users"], "users_eu"),
    ],
)
def test_which_pool(written, pools, meant):
    assert list(read({f"POOLS__{written}__COPIES": "2"}, *pools)) == [f"pools.{meant}.copies"]


@pytest.mark.parametrize(
    ("environ", "pools", "says"),
    [
        ({"WOKERS": "1"}, [], 'no such setting (did you mean "MEMAGENT_WORKERS"?)'),
        ({"workers": "1"}, [], 'no such setting (did you mean "MEMAGENT_WORKERS"?)'),
        ({"": "1"}, [], "MEMAGENT_: no such setting"),
        ({"FALLBACK": "never"}, [], "(it belongs in a pool: MEMAGENT_POOLS__MAIN__FALLBACK)"),
        ({"POOLS": "{}"}, [], "(pools are given by setting: MEMAGENT_POOLS__MAIN__SERVERS)"),
        ({"POOLS__SERVERS": "a"}, [], "names no pool: write MEMAGENT_POOLS__NAME__SETTING"),
        ({"POOLS____SERVERS": "a"}, [], "names no pool"),
        ({"POOLS__A_B__SEVERS": "a"}, [], 'did you mean "MEMAGENT_POOLS__A_B__SERVERS"?'),
        ({"POOLS__A_B__COPIES": "2"}, ["a-b", "A_b"], 'may mean the pools "a-b" and "A_b"'),
        (
            {"POOLS__MAIN__COPIES": "2", "POOLS__main__COPIES": "1"},
            [],
            "MEMAGENT_POOLS__main__COPIES: MEMAGENT_POOLS__MAIN__COPIES says it already",
        ),
    ],
)
def test_a_mistake(environ, pools, says):
    assert says in mistake(environ, *pools)


KUBERNETES = {
    "MEMAGENT_SERVICE_HOST": "10.0.0.11",
    "MEMAGENT_SERVICE_PORT": "11211",
    "MEMAGENT_SERVICE_PORT_MEMCACHED": "11211",
    "MEMAGENT_PORT": "tcp://10.0.0.11:11211",
    "MEMAGENT_PORT_11211_TCP": "tcp://10.0.0.11:11211",
    "MEMAGENT_PORT_11211_TCP_PROTO": "tcp",
    "MEMAGENT_PORT_11211_TCP_PORT": "11211",
    "MEMAGENT_PORT_11211_TCP_ADDR": "10.0.0.11",
    "MEMAGENT_METRICS_SERVICE_HOST": "10.0.0.12",
    "MEMAGENT_METRICS_PORT": "tcp://10.0.0.12:9150",
}


def test_what_is_not_meant_for_us():
    others = {
        "PATH": "/bin",
        "MEMAGENTS": "1",
        "MEMAGENT_TEST_PATIENCE": "5",
        "MEMAGENT_TRACE": "1",
        **KUBERNETES,
    }
    assert not environment.is_given(others)
    assert environment.read(others, (), Mistakes()) == []


def test_what_only_looks_like_a_service():
    assert "no such setting" in mistake({"PORT": "11211"})
    assert "no such setting" in mistake({"POOLS__X_SERVICE_PORT__SERVER": "a"})
    assert environment.is_given({"MEMAGENT_WORKERS": "1"})


def test_no_setting_is_taken_for_a_service():
    for name in settings_of(Config):
        assert environment.is_given({f"MEMAGENT_{name.upper()}": "tcp://x"})
