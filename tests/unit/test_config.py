"""A YAML text becomes a Config, or one error that names every mistake with its line."""

import contextlib
import os

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from memagent import config
from memagent.errors import ConfigError
from memagent.layers import Override, scalar
from memagent.rows import settings_of
from memagent.settings import Config, PoolConfig, ServerConfig

GOOD = """\
listen: ["127.0.0.1:12000", 11999, "unix:/run/m.sock"]
workers: 3
max_item_bytes: 2MiB
drain_ms: 5s
pools:
  main:
    servers:
      - {address: "10.0.0.1:11211", name: a, weight: 2}
      - "10.0.0.2"
    backups: [10.0.0.3]
    distribution: modula
    key_hash: crc32
    hash_tag: "{}"
"""
ONE_POOL = "pools: {main: {servers: [a]}}\n"


def mistakes(text: str, *overrides: Override) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.parse(text, "m.yaml", overrides)
    assert caught.value.exit_code == 2
    return caught.value.message.splitlines()


def test_the_whole_form():
    whole = config.parse(GOOD, "m.yaml")
    assert [str(address) for address in whole.listen] == [
        "127.0.0.1:12000",
        "0.0.0.0:11999",
        "unix:/run/m.sock",
    ]
    assert (whole.workers, whole.max_item_bytes, whole.drain_ms) == (3, 2**21, 5000)
    main = whole.pools[0]
    assert [(server.name, server.weight) for server in main.servers] == [("a", 2), ("10.0.0.2:11211", 1)]
    assert [server.name for server in main.backups] == ["10.0.0.3:11211"]
    assert (main.name, main.distribution, main.key_hash, main.hash_tag) == ("main", "modula", "crc32", "{}")


def test_json_is_yaml():
    assert config.parse('{"pools": {"main": {"servers": ["a"]}}, "workers": 2}', "m.json").workers == 2


def test_a_config_file_defaults_to_ketama_and_md5():
    main = config.parse(ONE_POOL, "m.yaml").pools[0]
    assert (main.distribution, main.key_hash) == ("ketama", "md5")


def test_the_hash_of_the_distribution_consistent_is_its_own():
    assert (
        config.parse("pools: {m: {servers: [a], distribution: consistent}}", "").pools[0].key_hash
        == "one_at_a_time"
    )


def test_values_are_read_as_written():
    text = (
        "pools: {on: {servers: [{address: a, name: no}, {address: b, name: 0x10}, {address: c, name: 1:30}]}}"
    )
    pool = config.parse(text, "m.yaml").pools[0]
    assert pool.name == "on"
    assert [server.name for server in pool.servers] == ["no", "0x10", "1:30"]


def test_null_where_the_default_is_none():
    assert config.parse(ONE_POOL + "user: null\nlog_file: ~\n", "m.yaml").user is None


def test_every_mistake_in_one_run():
    text = """\
listen: [127.0.0.1:12000, "x", 127.0.0.1:12000]
workers: 0
max_conections: 5
servers: []
drain_ms: 10min
drain_ms: 3
log_file:
pools:
  users:
    distributon: ketama
    servers:
      - 10.0.0.1
      - "10.0.0.7:99999"
      - {address: 10.0.0.1:11211, wieght: 3}
      - {address: 10.0.0.9, weight: 0}
      - [a]
      - {name: x}
    backups: [1.2.3.4]
    copies: 2
    probe_min_ms: 6s
    hash_tag: "{"
    workers: 3
"""
    assert mistakes(text) == [
        'm.yaml:1: listen[1]: "x": the port is missing: write host:port, [v6]:port, unix:/path or a port',
        'm.yaml:1: listen[2]: "127.0.0.1:12000" is already listen[0]',
        'm.yaml:2: workers: "0": must be a whole number from 1 to 256',
        'm.yaml:3: unknown setting "max_conections" (did you mean "max_connections"?)',
        'm.yaml:4: unknown setting "servers" (it belongs in a pool: pools: {main: {...}})',
        'm.yaml:5: drain_ms: "10min": unknown unit "min": a time ends in one of ms, s, m, h, d',
        'm.yaml:6: the setting "drain_ms" is there twice',
        "m.yaml:7: log_file: has no value: write one, or leave the setting out",
        'm.yaml:10: pool "users": unknown setting "distributon" (did you mean "distribution"?)',
        'm.yaml:13: pool "users": servers[1]: "10.0.0.7:99999": port must be 1-65535',
        'm.yaml:14: pool "users": servers[2]: unknown setting "wieght" (did you mean "weight"?)',
        'm.yaml:14: pool "users": servers[2]: "10.0.0.1:11211" is already servers[0]; '
        "for more of the keys give it a weight",
        'm.yaml:15: pool "users": servers[3]: weight: "0": must be a whole number from 1 to 65535',
        'm.yaml:16: pool "users": servers[4]: must be a single value, not a list',
        'm.yaml:17: pool "users": servers[5]: the setting "address" is missing',
        'm.yaml:19: pool "users": copies: 2 cannot be had with backups: '
        "the backups already hold the second copy",
        'm.yaml:20: pool "users": probe_max_ms (5s) must not be less than probe_min_ms (6s)',
        'm.yaml:21: pool "users": hash_tag: "{": '
        'must be two printable ASCII characters such as "{}", or "" for none',
        'm.yaml:22: pool "users": unknown setting "workers" (it belongs at the root of the file)',
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "m.yaml: the file is empty: it needs at least a pool with one server"),
        ("# nothing\n", "m.yaml: the file is empty: it needs at least a pool with one server"),
        ("[]", "m.yaml:1: must be a mapping of settings, such as {pools: ...}"),
        ("workers: 2", 'm.yaml:1: the setting "pools" is missing'),
        ("pools: {}", "m.yaml:1: pools: there must be 1 to 256 of them, not 0"),
        ("pools: [a]", "m.yaml:1: pools: must be a mapping of names to pools"),
        ("pools: {main: {}}", 'm.yaml:1: pool "main": the setting "servers" is missing'),
        ("pools: {main: }", 'm.yaml:1: pool "main": must be a mapping of settings, such as {servers: ...}'),
        ("pools: {main: {servers: []}}", 'm.yaml:1: pool "main": servers: a pool needs at least one server'),
        ("pools: {main: {servers: {}}}", 'm.yaml:1: pool "main": servers: must be a list, such as [a, b]'),
        (
            'pools: {"a b": {servers: [a]}}',
            'm.yaml:1: pool "a b": the name must be 1-255 characters without a space',
        ),
        ("pools:\n m: {servers: [a]}\n m: {servers: [b]}", 'm.yaml:3: the pool "m" is there twice'),
        (
            "pools: {a: {servers: [a]}, b: {servers: [b]}}",
            'm.yaml:1: pool "b": "a" takes the keys already that no prefix takes: give one of them prefixes, '
            "or a listen of its own",
        ),
        ("pools: {main: {servers: [a], weight: 2}}", "it belongs in a server: servers: [{address: ...}]"),
        ("pools: {main: {servers: [!!binary aaaa]}}", 'unknown YAML tag "tag:yaml.org,2002:binary"'),
        ("pools: {main: {servers: [!x a]}}", 'unknown YAML tag "!x"'),
        (ONE_POOL + "listen: 11211", "m.yaml:2: listen: must be a list"),
        (ONE_POOL + "listen: []", "m.yaml:2: listen: at least one address is needed"),
        (ONE_POOL + "daemon: null", 'm.yaml:2: daemon: "null": must be true or false'),
        (ONE_POOL + "workers: 010", 'm.yaml:2: workers: "010": must not start with 0'),
        (ONE_POOL + "[a]: 1", "m.yaml:2: the name of a setting must be a word"),
        ("<<: {workers: 2}\n" + ONE_POOL, 'm.yaml:1: unknown setting "<<"'),
        ("a: b: c", "m.yaml:1: not valid YAML: mapping values are not allowed here"),
        ("a: 1\n\tb: 2", "m.yaml:2: not valid YAML"),
        ("a: 1\nb: \0", "m.yaml:2: not valid YAML: control character"),
        ('a: "\\UFFFFFFFF"', "m.yaml: not valid YAML"),
        ("--- a\n--- b", "m.yaml:2: not valid YAML"),
        ("a: *b", "m.yaml:1: not valid YAML: found undefined alias"),
        ("[" * 20_000, "m.yaml: nested too deeply"),
        ("&a [*a]", "m.yaml:1: must be a mapping"),
        ("pools: &a {main: *a}", 'm.yaml:1: pool "main": unknown setting "main"'),
    ],
)
def test_one_mistake(text, says):
    assert any(line.startswith(says) or says in line for line in mistakes(text))


def test_a_rule_is_blamed_on_what_somebody_wrote():
    text = "pools:\n  main:\n    servers: [a]\n    probe_min_ms: 6s\n"
    assert mistakes(text)[0].startswith('m.yaml:4: pool "main": probe_max_ms (5s)')
    text = "pools:\n  main:\n    servers:\n    - {address: a, weight: 2}\n    distribution: magent-ketama\n"
    assert mistakes(text)[0].startswith('m.yaml:4: pool "main": servers[0]: weight: magent-ketama knows')


def test_aliases_may_repeat_but_not_multiply():
    text = "x: &x {address: a}\n" + "pools: {main: {servers: [" + ", ".join(["*x"] * 1000) + "]}}"
    lines = mistakes(text)
    assert 'unknown setting "x"' in lines[0]
    assert len(lines) <= 100


def test_a_file_of_nothing_but_mistakes_ends():
    lines = mistakes("\n".join(f"x{n}: 1" for n in range(20_000)))
    assert len(lines) == 100


def test_too_many_servers():
    assert "at most 1024 are allowed, not 1025" in mistakes("pools: {m: {servers: [" + "a," * 1025 + "]}}")[0]


def test_text_that_does_not_print_is_shown_escaped():
    line = mistakes(ONE_POOL + 'user: "a\\uD800\\e[31m"')[0]
    assert "\\ud800" in line
    assert "\x1b" not in line


def test_overrides_win_and_are_named_when_wrong():
    parsed = config.parse(ONE_POOL + "daemon: true", "m.yaml", [Override(("daemon",), scalar("false", "-D"))])
    assert parsed.daemon is False
    wrong = Override(("workers",), scalar("x", "-w"))
    assert mistakes(ONE_POOL, wrong)[0].startswith('-w: workers: "x": must be')


def test_overrides_obey_the_rules_between_settings():
    assert (
        "client_close_bytes" in mistakes(ONE_POOL, Override(("client_pause_bytes",), scalar("1GiB", "-x")))[0]
    )


def test_flags_win_over_the_environment_and_that_over_the_file():
    text = ONE_POOL + "workers: 1\ndrain_ms: 1s\nmax_connections: 10\n"
    environ = {"MEMAGENT_WORKERS": "2", "MEMAGENT_DRAIN_MS": "2s"}
    whole = config.parse(text, "m.yaml", [Override(("workers",), scalar("3", "-w"))], environ)
    assert (whole.workers, whole.drain_ms, whole.max_connections) == (3, 2000, 10)


def test_the_environment_changes_a_setting_of_a_pool_and_leaves_the_others():
    text = "pools: {users-eu: {servers: [a, b], copies: 2}}"
    environ = {"MEMAGENT_POOLS__USERS_EU__FALLBACK": "never", "MEMAGENT_POOLS__USERS_EU__SERVERS": "c,d,e"}
    pool = config.parse(text, "m.yaml", (), environ).pools[0]
    assert (pool.name, pool.fallback, pool.copies) == ("users-eu", "never", 2)
    assert [server.name for server in pool.servers] == ["c:11211", "d:11211", "e:11211"]


def test_the_environment_alone():
    whole = config.load(
        None, (), {"MEMAGENT_POOLS__MAIN__SERVERS": "a:1, b:2", "MEMAGENT_USER": "null"}
    ).config
    assert [server.address for server in whole.pools[0].servers] == ["a:1", "b:2"]
    assert whole.user is None
    assert (
        config.parse("# nothing", "m.yaml", (), {"MEMAGENT_POOLS__MAIN__SERVERS": "a"}).pools[0].name
        == "main"
    )


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"WORKERS": "0"}, 'MEMAGENT_WORKERS: workers: "0": must be a whole number from 1 to 256'),
        (
            {"POOLS__MAIN__SERVERS": "a,b:0"},
            'MEMAGENT_POOLS__MAIN__SERVERS: pool "main": servers[1]: "b:0": port must be 1-65535',
        ),
        (
            {"POOLS__MAIN__SERVERS": ""},
            'MEMAGENT_POOLS__MAIN__SERVERS: pool "main": servers: a pool needs at least',
        ),
        (
            {"POOLS__B__FALLBACK": "never"},
            'MEMAGENT_POOLS__B__FALLBACK: pool "b": the setting "servers" is missing',
        ),
        ({"LISTEN": "a:1,a:1"}, 'MEMAGENT_LISTEN: listen[1]: "a:1" is already listen[0]'),
        ({"MAX_ITEM_BYTES": "1GiB"}, "MEMAGENT_MAX_ITEM_BYTES: client_close_bytes (64MiB) must not be less"),
        ({"WROKERS": "1"}, 'MEMAGENT_WROKERS: no such setting (did you mean "MEMAGENT_WORKERS"?)'),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(environ, says):
    with pytest.raises(ConfigError) as caught:
        config.parse(ONE_POOL, "m.yaml", (), {f"MEMAGENT_{name}": text for name, text in environ.items()})
    assert any(line.startswith(says) for line in caught.value.message.splitlines())


def test_the_environment_without_a_pool():
    with pytest.raises(ConfigError, match=r'^the environment: the setting "pools" is missing'):
        config.load(None, (), {"MEMAGENT_WORKERS": "1"})


# ---------------------------------------------------------------- files


def test_a_file(tmp_path):
    path = tmp_path / "magent.yaml"
    path.write_text("\ufeff" + ONE_POOL)
    assert config.load(str(path)).config.pools[0].name == "main"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a: 1\nb: \xff", "magent.yaml:2: not UTF-8 text (byte 0xff)"),
        (ONE_POOL.encode("utf-16"), "magent.yaml:1: not UTF-8 text"),
        (b"#" * (1024 * 1024 + 1), "magent.yaml: larger than 1 MiB"),
    ],
)
def test_a_file_that_is_no_text(tmp_path, content, says):
    path = tmp_path / "magent.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        config.load(str(path))
    assert says in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    for path, says in (
        (tmp_path / "none.yaml", "none.yaml: no such file"),
        (tmp_path, "is a directory"),
        (tmp_path / "none.yaml" / "x", "no such file"),
    ):
        with pytest.raises(ConfigError, match=says):
            config.load(str(path))
    with pytest.raises(ConfigError, match="zero byte"):
        config.load("a\0b")


def test_a_file_without_the_right_to_read_it(tmp_path, monkeypatch):
    path = tmp_path / "secret.yaml"
    path.write_text(ONE_POOL)
    path.chmod(0)
    if os.geteuid() == 0:
        # root may read everything: let the kernel's answer be given for it
        monkeypatch.setattr("builtins.open", _denied)
    with pytest.raises(ConfigError, match=r"secret.yaml: permission denied"):
        config.load(str(path))


def _denied(path, *_):
    raise PermissionError(13, "Permission denied", path)


# ---------------------------------------------------------------- anything at all

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
names = st.sampled_from([name for model in (Config, PoolConfig, ServerConfig) for name in settings_of(model)])
values = st.sampled_from(
    ["10.0.0.1", "a:1", "unix:/s", "ketama", "consistent", "jump", "5s", "1MiB", "{}", 2, 1, "auto"]
)
texts = st.text(st.characters(blacklist_characters="\0"), max_size=12)
trees = st.recursive(
    scalars | values,
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(names | st.text(max_size=5), children, max_size=5)
    ),
    max_leaves=30,
)
pools = st.fixed_dictionaries(
    {"servers": st.lists(values | trees, min_size=1, max_size=4)},
    optional=dict.fromkeys(("backups", "copies", "distribution", "key_hash", "hash_tag"), values | trees),
)


SECRETS = ("admin_read_token", "admin_operator_token")


def _config_or_error(text: str) -> None:
    """One that can be told on, but for its secrets, which nobody is told."""
    try:
        whole = config.parse(text, "m.yaml")
    except ConfigError as error:
        lines = error.message.splitlines()
    else:
        lines = ["m.yaml: good"]
        told = {name: SecretStr("**********") for name in SECRETS if getattr(whole, name) is not None}
        assert Config.model_validate_json(whole.model_dump_json()) == whole.model_copy(update=told)
    assert lines
    assert all(line.startswith("m.yaml") for line in lines)


@given(st.text() | st.text(alphabet=st.sampled_from("abc:-[]{}&*!|>'\"%@`#?,\n \t\\~0x")))
@settings(max_examples=300)
def test_random_text_is_a_config_or_a_config_error(text):
    _config_or_error(text)


@given(trees)
@settings(max_examples=200)
def test_a_random_tree_is_a_config_or_a_config_error(tree):
    _config_or_error(yaml.safe_dump(tree))


@given(
    st.dictionaries(st.just("main"), pools, min_size=1), st.dictionaries(names, values | trees, max_size=3)
)
@settings(max_examples=200)
def test_nearly_right_is_a_config_or_a_config_error(found, root):
    _config_or_error(yaml.safe_dump({**root, "pools": found}))


@given(st.integers(0, len(GOOD) - 1), st.characters())
@settings(max_examples=200)
def test_one_wrong_character_is_a_config_or_a_config_error(position, character):
    _config_or_error(GOOD[:position] + character + GOOD[position + 1 :])


@given(
    st.dictionaries(
        names.map(str.upper)
        | names.map(lambda name: f"POOLS__MAIN__{name.upper()}")
        | texts.map(lambda text: f"POOLS__{text}"),
        texts | st.sampled_from(["a,b", "{address: a, weight: 2}, b", "[{", "5s", "1MiB", "null", "2", "{}"]),
        max_size=4,
    )
)
@settings(max_examples=200)
def test_any_environment_is_a_config_or_a_config_error(environ):
    with contextlib.suppress(ConfigError):
        config.parse(ONE_POOL, "m.yaml", (), {f"MEMAGENT_{name}": text for name, text in environ.items()})


SEVERAL = """\
listen: [11300]
pools:
  main: {servers: [a]}
  users:
    servers: [b]
    prefixes: ["user:", 5, yes, '{v}:']
    strip_prefix: true
  own:
    servers: [c]
    listen: ["127.0.0.1:11301"]
"""


def test_several_pools():
    main, users, own = config.parse(SEVERAL, "m.yaml").pools
    assert (main.takes, own.takes) == (("",), ())
    assert (users.takes, users.strip_prefix) == (("user:", "5", "yes", "{v}:"), True)
    assert [str(address) for address in own.listen] == ["127.0.0.1:11301"]


def test_the_environment_gives_a_pool_prefixes_and_addresses():
    environ = {
        "MEMAGENT_POOLS__USERS__PREFIXES": "u:, v:",
        "MEMAGENT_POOLS__USERS__SERVERS": "b",
        "MEMAGENT_POOLS__OWN__SERVERS": "c",
        "MEMAGENT_POOLS__OWN__LISTEN": "127.0.0.1:5,unix:/run/x",
    }
    _, own, users = config.parse(ONE_POOL, "m.yaml", (), environ).pools
    assert (users.name, users.takes) == ("users", ("u:", "v:"))
    assert (own.name, len(own.listen)) == ("own", 2)


def test_mistakes_between_pools_stand_where_they_were_made():
    text = """\
listen: [11300]
pools:
  main: {servers: [a]}
  users:
    servers: [b]
    prefixes: ["user:", "u:", "a b"]
  three:
    servers: [c]
    listen: [11300]
    prefixes:
    - "x:"
  four:
    servers: [c]
    strip_prefix: true
    prefixes:
    - "y:"
    - "x:"
    - {}
  five:
    servers: [e]
  six:
    servers: [e]
    strip_prefix: true
    listen: [0.0.0.0:11300]
"""
    assert mistakes(text) == [
        'm.yaml:6: pool "users": prefixes[2]: "a b": must be at most 249 bytes without a space or control '
        "character: no key begins with it",
        'm.yaml:9: pool "three": listen[0]: "0.0.0.0:11300" is already listen[0]',
        'm.yaml:18: pool "four": prefixes[2]: must be a single value, not a mapping',
        'm.yaml:20: pool "five": "main" takes the keys already that no prefix takes: give one of them '
        "prefixes, or a listen of its own",
        'm.yaml:23: pool "six": strip_prefix: there is nothing to strip: the pool has no prefixes',
    ]
    right = text.replace('"a b"', '"c:"').replace("    - {}\n", "").replace("    strip_prefix: true\n", "")
    assert mistakes(right) == [
        'm.yaml:9: pool "three": listen[0]: "0.0.0.0:11300" is already listen[0]',
        'm.yaml:16: pool "four": prefixes[1]: "x:" is already a prefix of the pool "three"',
        'm.yaml:18: pool "five": "main" takes the keys already that no prefix takes: give one of them '
        "prefixes, or a listen of its own",
        'm.yaml:21: pool "six": listen[0]: "0.0.0.0:11300" is already listen[0]',
    ]
    assert mistakes("listen: [1]\npools: {a: {servers: [a], listen: [2]}}") == [
        "m.yaml:1: listen: no pool is reached there: each has addresses of its own, and none has prefixes"
    ]


@pytest.mark.parametrize("text", ["prefixes: a", "prefixes: {a: b}", "prefixes: [[a]]", "prefixes: [!x a]"])
def test_prefixes_are_a_list(text: str) -> None:
    assert len(mistakes(f"pools: {{m: {{servers: [a], {text}}}}}")) == 1
