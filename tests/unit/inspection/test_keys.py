"""What a key may be."""

import pytest

from memagent.inspection.keys import as_text, problem_of


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
