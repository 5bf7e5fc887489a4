"""The cases of tests/vectors/placement.json in memagent's own words."""

import json
from pathlib import Path
from typing import NamedTuple

VECTORS = Path(__file__).parent.parent / "vectors" / "placement.json"

DISTRIBUTIONS = {
    "modula (no -k)": "modula",
    "ketama (-k)": "magent-ketama",
    "ketama_weighted": "ketama",
    "ketama": "ketama",
    "consistent": "consistent",
    "modula": "modula",
}
MAGENT_KEY_HASHES = {"modula (no -k)": "djb", "ketama (-k)": "md5"}

# Two things are not in the file; both fit every key of their cases, and libmemcached itself when asked again.
# libmemcached as Debian builds it has no hsieh: it refuses the name and stays with its default.
KEY_HASHES = {
    ("libmemcached 1.1.4", "crc"): "crc32",
    ("libmemcached 1.1.4", "hsieh"): "one_at_a_time",
}
# Its "consistent" run on these servers had the weights that only their ketama_weighted case writes down.
UNWRITTEN_WEIGHTS = {
    ("consistent", ("10.2.0.1:11211", "10.2.0.2:11211", "10.2.0.3:11211", "10.2.0.4:22122")): (1, 3, 2, 10),
}


class Case(NamedTuple):
    title: str
    servers: list[tuple[str, str, int, int]]
    distribution: str
    key_hash: str
    owners: list[int]


def parsed_server(system: str, text: str) -> tuple[str, str, int, int]:
    if system.startswith("twemproxy"):
        name, weight = text.split(":")
        return name, "127.0.0.1", 11211, int(weight)
    host, port, *weight_given = text.split(":")
    return "", host, int(port), int(weight_given[0]) if weight_given else 1


def observed_cases() -> tuple[list[bytes], list[Case]]:
    vectors = json.loads(VECTORS.read_text("utf-8"))
    cases = []
    for case in vectors["cases"]:
        system, mode = case["system"], case["mode"]
        servers = [parsed_server(system, text) for text in case["servers"]]
        weights = UNWRITTEN_WEIGHTS.get((mode, tuple(case["servers"])))
        if weights:
            servers = [(*server[:3], weight) for server, weight in zip(servers, weights, strict=True)]
        key_hash = case.get("key_hash") or MAGENT_KEY_HASHES[mode]
        title = "-".join([system, mode, key_hash, *(str(server[3]) for server in servers)])
        cases.append(
            Case(
                title=title.replace(" ", "_"),
                servers=servers,
                distribution=DISTRIBUTIONS[mode],
                key_hash=KEY_HASHES.get((system, key_hash), key_hash),
                owners=case["owners"],
            )
        )
    return [key.encode() for key in vectors["keys"]], cases
