"""Rows of the table: one value is read or says what is allowed, and every row describes itself."""

import pytest

from memagent.rows import read_setting, settings_of
from memagent.settings import Config, PoolConfig, ServerConfig


@pytest.mark.parametrize(
    ("model", "name", "value", "says"),
    [
        (Config, "workers", "0", "a whole number from 1 to 256"),
        (Config, "workers", "many", "a whole number"),
        (Config, "max_connections", True, "a whole number from 1 to 1000000"),
        (Config, "max_connections", 1.5, "a whole number"),
        (Config, "drain_ms", "11m", "a time from 0 to 10m"),
        (Config, "max_item_bytes", "1B", "a size from 1KiB to 1GiB"),
        (Config, "daemon", 3, "true or false"),
        (Config, "user", "", "1-255 characters"),
        (Config, "user", "a b", "without a space"),
        (Config, "user", "a\nb", "control character"),
        (Config, "user", "\ud800", "control character"),
        (Config, "log_file", "x.log", "an absolute path"),
        (Config, "otel_endpoint", "127.0.0.1:4318", "http://HOST:PORT"),
        (Config, "otel_endpoint", "ftp://a", "http://HOST:PORT"),
        (Config, "otel_endpoint", "http://", "http://HOST:PORT"),
        (Config, "otel_endpoint", "http://a:70000", "http://HOST:PORT"),
        (Config, "otel_endpoint", "http://[::1", "http://HOST:PORT"),
        (Config, "otel_endpoint", "http://user:secret@a", "http://HOST:PORT"),
        (Config, "otel_endpoint", "http://a/?b", "http://HOST:PORT"),
        (Config, "otel_endpoint", "http://a b", "http://HOST:PORT"),
        (Config, "otel_endpoint", "http://a/\n", "control character"),
        (PoolConfig, "distribution", "katama", "one of ketama, modula"),
        (PoolConfig, "key_hash", "sha1", "one of md5, djb"),
        (PoolConfig, "hash_tag", "{", "two printable"),
        (PoolConfig, "hash_tag", "{}}", "two printable"),
        (PoolConfig, "hash_tag", "éé", "two printable"),
        (PoolConfig, "copies", "3", "a whole number from 1 to 2"),
        (PoolConfig, "get_when_down", "maybe", "one of miss, error"),
        (ServerConfig, "weight", "0", "a whole number from 1 to 65535"),
        (ServerConfig, "weight", "-1", "a whole number"),
        (ServerConfig, "address", "a:0", "port must be"),
    ],
)
def test_a_wrong_value_says_what_is_allowed(model, name, value, says):
    with pytest.raises(ValueError, match=says):
        read_setting(model, name, value)


@pytest.mark.parametrize("url", ["http://a", "https://a:4318/x/v1/metrics", "http://[::1]:4318"])
def test_urls(url):
    assert read_setting(Config, "otel_endpoint", url) == url


@pytest.mark.parametrize("model", [Config, PoolConfig, ServerConfig])
def test_every_setting_describes_itself(model):
    for row in settings_of(model).values():
        assert row.description
        assert not row.description.endswith(".")
        assert row.allowed
        assert row.required == (row.default is None)
        if row.name.endswith(("_ms", "_bytes")):
            assert row.unit == row.name.rpartition("_")[2]


@pytest.mark.parametrize("model", [Config, PoolConfig, ServerConfig])
def test_every_default_is_allowed(model):
    for name in settings_of(model):
        field = model.model_fields[name]
        if not field.is_required():
            default = field.get_default(call_default_factory=True)
            assert read_setting(model, name, default) == default
