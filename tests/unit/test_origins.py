"""Every setting that was given, with its value and the place where it was."""

from memagent import config, legacy
from memagent.layers import Override, scalar
from memagent.legacy import Flags, Given
from memagent.origins import origins

TEXT = """\
listen:
  - 127.0.0.1:12000
workers: 2
drain_ms: 10s
user: null
pools:
  users:
    servers:
      - 10.0.0.1
      - {address: 10.0.0.2, name: b}
    fallback: always
"""


def rows(loaded):
    return [tuple(origin) for origin in origins(loaded)]


def test_a_file_the_environment_and_flags(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text(TEXT)
    environ = {
        "MEMAGENT_WORKERS": "3",
        "MEMAGENT_POOLS__USERS__HASH_TAG": "",
        "MEMAGENT_POOLS__USERS__BACKUPS": "c",
        "MEMAGENT_MAX_ITEM_BYTES": "2m",
    }
    loaded = config.load(str(path), [Override(("daemon",), scalar("false", "-D"))], environ)
    assert rows(loaded) == [
        ("", "listen", "127.0.0.1:12000", f"{path}:1", False),
        ("", "workers", "3", "MEMAGENT_WORKERS", False),
        ("", "max_item_bytes", "2MiB", "MEMAGENT_MAX_ITEM_BYTES", False),
        ("", "drain_ms", "10s", f"{path}:4", True),
        ("", "user", "none", f"{path}:5", True),
        ("", "daemon", "false", "-D", True),
        ("users", "servers", "10.0.0.1:11211, b", f"{path}:8", False),
        ("users", "backups", "c:11211", "MEMAGENT_POOLS__USERS__BACKUPS", False),
        ("users", "hash_tag", '""', "MEMAGENT_POOLS__USERS__HASH_TAG", True),
        ("users", "fallback", "always", f"{path}:11", True),
    ]


def test_an_included_file(tmp_path):
    (tmp_path / "a.yaml").write_text("\npools: {m: {servers: [a], copies: 1}}\n")
    path = tmp_path / "m.yaml"
    path.write_text("include: a.yaml\npools: {m: {fallback: never}}\n")
    assert [(row[1], row[3]) for row in rows(config.load(str(path)))] == [
        ("servers", f"{tmp_path}/a.yaml:2"),
        ("copies", f"{tmp_path}/a.yaml:2"),
        ("fallback", f"{path}:2"),
    ]


def test_magents_flags():
    loaded = legacy.from_flags(Flags(port=Given("5", "-p"), servers=(Given("a", "-s"), Given("b", "-s"))))
    assert [(name, value, place) for _, name, value, place, _ in rows(loaded)] == [
        ("listen", "0.0.0.0:5", "-p"),
        ("daemon", "true", "magent's default"),
        ("servers", "a:11211, b:11211", "-s"),
        ("distribution", "modula", "magent's default"),
        ("key_hash", "djb", "magent's default"),
    ]
