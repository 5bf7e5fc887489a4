"""`magent check`: good or every mistake; and the examples in conf/ are good."""

from pathlib import Path

import pytest

from memagent import cli

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "conf").iterdir())


def test_a_good_file(tmp_path, capsys):
    path = tmp_path / "magent.yaml"
    path.write_text(
        'listen: ["127.0.0.1:12000", "unix:/s"]\nworkers: 3\n'
        'pools: {users: {servers: [{address: "10.0.0.1:11211", name: a, weight: 2}, "10.0.0.2"], '
        'backups: [b], hash_tag: "{}"}}\n'
    )
    assert cli.call(["check", str(path)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines()[:7] == [
        f"{path}: good",
        "listen   127.0.0.1:12000, unix:/s",
        "workers  3",
        "pool     users: distribution ketama, key hash md5, hash tag {}",
        "  server 0    a               10.0.0.1:11211  weight 2",
        "  server 1    10.0.0.2:11211",
        "  backup 0    b:11211",
    ]


def test_where_each_setting_comes_from(tmp_path, capsys, monkeypatch):
    path = tmp_path / "magent.yaml"
    servers = ", ".join(f"10.0.0.{n}" for n in range(9))
    path.write_text(f"pools: {{users: {{servers: [{servers}]}}}}\ndrain_ms: 10s\n")
    monkeypatch.setenv("MEMAGENT_WORKERS", "3")
    assert cli.call(["check", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = lines[lines.index("") + 1 :]
    assert [line.split("  ")[0] for line in table] == ["SETTING", "workers", "drain_ms", "users: servers"]
    assert table[1].endswith(" MEMAGENT_WORKERS")
    assert table[2].endswith(f" {path}:2 (the default)")
    assert table[3].endswith(f"...  {path}:1")


def test_the_environment_alone(capsys, monkeypatch):
    monkeypatch.setenv("MEMAGENT_POOLS__MAIN__SERVERS", "a")
    assert cli.call(["check"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("the environment: good\n")
    assert out.endswith("main: servers  a:11211  MEMAGENT_POOLS__MAIN__SERVERS\n")


def test_a_bad_file(tmp_path, capsys):
    path = tmp_path / "magent.yaml"
    path.write_text("pools:\n  main:\n    servers: [10.0.0.1, 10.0.0.1]\n    copys: 2\nworkers: 0\n")
    assert cli.call(["check", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f'magent: error: {path}:3: pool "main": servers[1]: "10.0.0.1:11211" is already servers[0]; '
        "for more of the keys give it a weight",
        f'magent: error: {path}:4: pool "main": unknown setting "copys" (did you mean "copies"?)',
        f'magent: error: {path}:5: workers: "0": must be a whole number from 1 to 256',
        "hint: docs/reference/settings.md lists every setting; conf/ has examples",
    ]


def test_the_schema_for_editors(capsys):
    assert cli.call(["check", "--schema"]) == 0
    assert capsys.readouterr().out == (ROOT / "docs" / "reference" / "settings.schema.json").read_text()


def test_there_are_examples():
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_good(path, capsys):
    assert cli.call(["check", str(path)]) == 0
    assert capsys.readouterr().out.startswith(f"{path}: good")


SEVERAL = """\
pools:
  main: {servers: [a]}
  users: {servers: [b], prefixes: ["user:", "u:"], strip_prefix: true}
  own: {servers: [c], listen: ["127.0.0.1:5"]}
"""


def test_several_pools_and_what_leads_to_them(tmp_path, capsys):
    path = tmp_path / "magent.yaml"
    path.write_text(SEVERAL)
    assert cli.call(["check", str(path)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line for line in out if line.startswith(("listen", "route"))] == [
        "listen   127.0.0.1:11211",
        "listen   127.0.0.1:5 (pool own)",
        'route    "user:" -> pool users, which strips the prefix',
        'route    "u:"    -> pool users, which strips the prefix',
        "route    all else -> pool main",
    ]
    path.write_text(SEVERAL.replace("main: {", "main: {prefixes: ['m:'], "))
    assert cli.call(["check", str(path)]) == 0
    assert "route    all else is refused: CLIENT_ERROR no route for this key" in capsys.readouterr().out
