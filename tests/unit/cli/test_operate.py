"""`magent drain`, `undrain`, `replace`: what is asked of the proxy, and what is told of its answer."""

import json
from dataclasses import replace

import pytest

from memagent import cli
from tests.support.control_stand_in import SERVER, WARM, done, progress

DRAINED = replace(SERVER, state="drained", held=True)


@pytest.fixture
def run(stand_in, capfd):
    def call(arguments, *lines):
        with stand_in(lambda request: lines) as proxy:
            code = cli.call([*arguments, "--socket", proxy.path])
            return (code, *capfd.readouterr(), proxy.requests)

    return call


@pytest.mark.parametrize(
    ("arguments", "request_"),
    [
        (["drain", "a"], {"verb": "drain", "server": "a", "force": False, "wait": True}),
        (
            ["drain", "a", "--force", "--no-wait", "--role", "backup", "--pool", "p"],
            {"verb": "drain", "server": "a", "force": True, "wait": False, "backup": True, "pool": "p"},
        ),
        (["undrain", "10.0.0.1:11211"], {"verb": "undrain", "server": "10.0.0.1:11211", "wait": True}),
        (["undrain", "a", "--no-wait"], {"verb": "undrain", "server": "a", "wait": False}),
        (
            ["replace", "a", "10.0.0.9"],
            {
                "verb": "replace",
                "server": "a",
                "address": "10.0.0.9",
                "force": False,
                "keep_data": False,
                "wait": True,
            },
        ),
        (
            ["replace", "a", "unix:/x", "--keep-data", "--force", "--role", "server"],
            {
                "verb": "replace",
                "server": "a",
                "address": "unix:/x",
                "backup": False,
                "force": True,
                "keep_data": True,
                "wait": True,
            },
        ),
    ],
)
def test_what_is_asked(run, arguments, request_):
    code, out, _, requests = run(arguments, done(SERVER))
    assert code == 0
    assert requests == [request_]
    assert out == "server a (10.0.0.1:11211) is up\n"


def test_each_change_is_told_once(run):
    steps = [replace(SERVER, state="draining", in_flight=n) for n in (2, 2, 1)]
    code, out, err, _ = run(["drain", "a"], *map(progress, steps), done(DRAINED))
    assert (code, out) == (0, "server a (10.0.0.1:11211) is drained\n")
    assert err.splitlines() == [
        "a: draining, 2 requests under way",
        "a: draining, 1 request under way",
        "magent undrain a takes it back into service",
    ]


def test_the_way_back(run):
    steps = [
        replace(SERVER, state="returning", journal_keys=1234),
        replace(SERVER, state="returning"),
        replace(SERVER, state="warming", warm=replace(WARM, per_cent=12.0)),
        replace(SERVER, state="warming", warm=replace(WARM, per_cent=19.0)),
        replace(SERVER, state="warming", warm=replace(WARM, per_cent=20.0)),
        replace(SERVER, state="warming"),
    ]
    _, _, err, _ = run(["undrain", "a"], *map(progress, steps), done(replace(SERVER, backup=True)))
    assert err.splitlines() == [
        "a: returning, 1,234 keys to be set right",
        "a: returning",
        "a: warming, 10 %",
        "a: warming, 20 %",
        "a: warming",
    ]


def test_what_is_left_to_do_after_a_replacement(run):
    _, out, err, _ = run(["replace", "a", "10.0.0.9"], done(SERVER, text="write 10.0.0.9 into the file"))
    assert out == "server a (10.0.0.1:11211) is up\n"
    assert err == "write 10.0.0.9 into the file\n"


def test_json(run):
    code, out, err, _ = run(["drain", "a", "--json"], done(DRAINED))
    assert (code, err) == (0, "")
    assert json.loads(out)["state"] == "drained"


def test_a_refusal(run):
    line = {"error": "keys of a would have no live copy", "hint": "x is down", "force": True}
    code, out, err, _ = run(["drain", "a"], line)
    assert (code, out) == (1, "")
    assert err == (
        "magent: error: keys of a would have no live copy\nhint: x is down; --force does it nevertheless\n"
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["drain"], "Missing argument 'SERVER'"),
        (["undrain", "a", "--role", "master"], "'master' is not one of 'server', 'backup'"),
        (["replace", "a"], "Missing argument 'NEW-ADDRESS'"),
        (["replace", "a", "10.0.0.9:0"], 'NEW-ADDRESS: "10.0.0.9:0": port must be 1-65535'),
        (["replace", "a", "::1"], "an IPv6 address needs brackets"),
    ],
)
def test_mistakes(run, arguments, says):
    code, out, err, requests = run(arguments)
    assert (code, out, requests) == (2, "", [])
    assert says in err
