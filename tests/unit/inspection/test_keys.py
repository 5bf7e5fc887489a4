"""What a key may be."""

import pytest

from memagent.inspection.keys import as_text, problem_of, shown, visible


@pytest.mark.parametrize("key", [b"k", b"k" * 250, "ключ".encode(), b"x\xff", b"a-{b}:1!"])
def test_good_keys(key):
    assert problem_of(key) is None
    assert as_text(key).encode(errors="surrogateescape") == key


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (b"", "a key must not be empty"),
        (b"a b", 'key "a b" has a space or a control character'),
        (b"a\x00", 'key "a\\x00" has a space or a control character'),
        (b"a\x7f", 'key "a\\x7f" has a space or a control character'),
        (b"k" * 251, f'key "{"k" * 60}..." has 251 bytes, more than 250'),
    ],
)
def test_bad_keys(key, says):
    assert problem_of(key) == says


UNSEEN = ["\u202e", "\u2066", "\u0085", "\u009b", "\u200b", "\u00ad", "\u2028", "\x1b", "\n", "\U000e0001"]


@pytest.mark.parametrize("character", UNSEEN)
def test_what_steers_or_is_not_seen_stands_as_its_bytes(character):
    raw = character.encode()
    expected = "a" + "".join(f"\\x{byte:02x}" for byte in raw) + "b"
    assert visible(f"a{character}b") == shown(b"a%bb" % raw) == expected


def test_other_bytes_stay_for_a_terminal_and_are_escapes_for_people():
    assert visible(as_text(b"\xff\x9b")) == "\udcff\\x9b"
    assert shown(b"\xff\x9b") == "\\xff\\x9b"
    assert shown("schlüssel ключ".encode()) == "schlüssel ключ"
