"""Which pool takes a key, told from the configuration."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memagent._core.routes import Route, Routes
from memagent.errors import ConfigError
from memagent.inspection.routing import pool_of, routed
from memagent.settings import Config
from tests.support.core import World

POOL = World().pool
TEXTS = st.text("ab\u00e9:", max_size=4)


def config(**prefixes: list[str] | None) -> Config:
    """Pools by name; None: an address of its own."""
    pools = []
    for port, (name, given_) in enumerate(prefixes.items(), start=1):
        listen = [] if given_ else [str(port)]
        pools.append({"name": name, "servers": ["s"], "prefixes": given_ or [], "listen": listen})
    return Config.model_validate({"pools": pools})


@given(st.lists(TEXTS, min_size=1, max_size=6, unique=True), TEXTS.filter(bool))
def test_it_answers_what_the_proxy_does(prefixes: list[str], key: str) -> None:
    told = config(**{f"p{number}": [prefix] for number, prefix in enumerate(prefixes)})
    real = Routes([Route(prefix.encode(), POOL) for prefix in prefixes]).of(key.encode())
    if real is None:
        with pytest.raises(ConfigError, match="no pool takes the key"):
            routed(told, key.encode())
    else:
        found = routed(told, key.encode())
        assert found.prefix is not None
        assert (found.prefix.encode(), found.stored) == (real.prefix, key.encode())
        assert found.pool.prefixes == (found.prefix,)


def test_a_prefix_that_is_stripped():
    one = {"name": "a", "servers": ["s"], "prefixes": ["a:", ""], "strip_prefix": True}
    told = Config.model_validate({"pools": [one]})
    assert routed(told, b"a:b\xff")[1:] == (b"b\xff", "a:", b"a:b\xff")
    assert routed(told, b"c")[1:] == (b"c", "", b"c")
    assert routed(told, b"a:b", "a")[1:] == (b"a:b", None, b"a:a:b")
    assert routed(told, b"k" * 249, "a")[1:] == (b"k" * 249, None, b"k" * 249)
    with pytest.raises(ConfigError, match="nothing but the prefix"):
        routed(told, b"a:")


def test_what_no_client_reaches_in_a_pool_without_an_address_of_its_own():
    told = config(a=["a:"], rest=[""], own=None)
    for key, pool, asked in (
        (b"a:b", "a", b"a:b"),
        (b"a:b", "rest", None),
        (b"b", "a", None),
        (b"b", "rest", b"b"),
        (b"a:b", "own", b"a:b"),
    ):
        assert routed(told, key, pool).asked == asked
    assert routed(told, b"a:b").asked == b"a:b"


def test_a_pool_by_its_name_or_because_there_is_no_other():
    one, two = config(a=None), config(a=None, b=["b"])
    assert routed(one, b"x")[1:] == (b"x", None, b"x")
    assert pool_of(one, None).name == "a"
    assert (pool_of(two, "b").name, routed(two, b"x", "a").pool.name) == ("b", "a")
    with pytest.raises(ConfigError, match="which pool is meant\\? There are a, b"):
        pool_of(two, None)
    with pytest.raises(ConfigError, match='no pool "c"'):
        routed(two, b"x", "c")
    with pytest.raises(ConfigError, match="no pool takes the key"):
        routed(two, b"x")
