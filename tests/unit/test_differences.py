"""What changes between two configurations, and that other words for the same are no change."""

import pytest
from pydantic import SecretStr

from memagent import config
from memagent.differences import _of_table, changes
from memagent.rows import Secret, setting
from memagent.settings import Table

BASE = "pools: {m: {servers: [a, {address: b, name: n}], backups: [c]}}"


def between(old, new):
    return [tuple(each) for each in changes(config.parse(old, "old"), config.parse(new, "new"))]


@pytest.mark.parametrize(
    "text",
    [
        BASE,
        BASE + "\ndrain_ms: 10000ms",
        "pools: {m: {servers: ['a:11211', {name: n, address: b, weight: 1}], backups: [c], copies: 1}}",
    ],
)
def test_nothing_changes(text):
    assert between(BASE, text) == []


@pytest.mark.parametrize(
    ("new", "found"),
    [
        (BASE + "\nmax_connections: 5\nuser: x\ndaemon: yes", [
            ("max_connections", "4096", "5"),
            ("user", "none", "x"),
            ("daemon", "false", "true"),
        ]),
        (BASE + "\nlisten: [1, '127.0.0.1:11211']", [("listen", "", "0.0.0.0:1")]),
        ("pools: {m: {servers: [a, {address: d, name: n, weight: 2}]}}", [
            ('pool "m": servers', "n b", "n d weight 2"),
            ('pool "m": backups', "c:11211", ""),
        ]),
        ("pools: {m: {servers: [{address: b, name: n}, a, x], backups: [c]}}", [
            ('pool "m": servers', "", "x:11211"),
            ('pool "m": servers: order', "a:11211, n", "n, a:11211, x:11211"),
        ]),
        (BASE.replace("backups", "repair_ttl_ms: 5m, hash_tag: '{}', backups"), [
            ('pool "m": hash_tag', '""', "{}"),
            ('pool "m": repair_ttl_ms', "1m", "5m"),
        ]),
        ("pools: {k: {servers: [a]}}", [('pool "m"', "3 servers", ""), ('pool "k"', "", "1 server")]),
    ],
)  # fmt: skip
def test_what_changes(new, found):
    assert between(BASE, new) == found


def test_a_secret_changes_and_is_not_shown():
    class Guarded(Table):
        token: Secret | None = setting("What opens the door", None, shown="none")

    def between(old, new):
        return [tuple(each) for each in _of_table(Guarded(token=old), Guarded(token=new), "")]

    one, other, hidden = SecretStr("one"), SecretStr("other"), SecretStr("**********")
    assert between(one, one) == []
    assert between(one, other) == [("token", "(secret)", "another (secret)")]
    assert between(None, one) == [("token", "none", "(secret)")]
    assert between(hidden, one) == []  # what a running proxy says of its own
