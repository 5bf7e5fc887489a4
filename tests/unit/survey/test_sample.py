"""Some keys, the same ones at every server."""

from memagent.survey.sample import Sample

KEYS = [b"key:%d" % number for number in range(10_000)]
OF_A_KEY_BYTES = 108


def test_all_while_there_is_room():
    sample = Sample(2, 100 * OF_A_KEY_BYTES)
    sample.add(0, KEYS[:60])
    sample.add(0, KEYS[:60])
    sample.add(1, KEYS[20:60])
    assert (sample.one_in, sample.of) == (1, [set(KEYS[:60]), set(KEYS[20:60])])


def test_the_same_ones_whenever_they_came():
    sample = Sample(3, 1000 * OF_A_KEY_BYTES)
    sample.add(0, KEYS)
    for key in reversed(KEYS):
        sample.add(1, [key])
    assert sample.of[0] == sample.of[1]
    assert 8 <= sample.one_in <= 32
    assert 400 < sum(map(len, sample.of)) <= 1000
    assert all(held <= set(KEYS) for held in sample.of)


def test_what_is_forgotten_leaves_room():
    sample = Sample(2, 100 * OF_A_KEY_BYTES)
    sample.add(0, KEYS[:90])
    sample.forget(0)
    sample.add(1, KEYS[:90])
    assert (sample.one_in, sample.of[0], len(sample.of[1])) == (1, set(), 90)


def test_long_keys_are_fewer():
    sample = Sample(1, 100 * OF_A_KEY_BYTES)
    sample.add(0, [b"x" * 250 + key for key in KEYS[:100]])
    assert sample.one_in == 4
    assert 10 < len(sample.of[0]) < 31
