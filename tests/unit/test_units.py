"""Text with a unit becomes whole numbers, or an error that says what is allowed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memagent import units

MS = {
    "250": 250,
    "250ms": 250,
    "1s": 1000,
    "1.5s": 1500,
    "5m": 300_000,
    "2h": 7_200_000,
    " 7 s ": 7000,
    "0": 0,
}
US = {"10": 10, "10us": 10, "1.5ms": 1500, "0.25s": 250_000}
BYTES = {
    "1500": 1500,
    "1500B": 1500,
    "64k": 65536,
    "64K": 65536,
    "64KiB": 65536,
    "16MiB": 2**24,
    "1.5g": 3 * 2**29,
}
COUNTS = {"0": 0, "4096": 4096, "1_000_000": 1_000_000}


@pytest.mark.parametrize(("text", "value"), MS.items())
def test_milliseconds(text, value):
    assert units.parse_ms(text) == value


@pytest.mark.parametrize(("text", "value"), US.items())
def test_microseconds(text, value):
    assert units.parse_us(text) == value


@pytest.mark.parametrize(("text", "value"), BYTES.items())
def test_bytes(text, value):
    assert units.parse_bytes(text) == value


@pytest.mark.parametrize(("text", "value"), COUNTS.items())
def test_counts(text, value):
    assert units.parse_count(text) == value


@pytest.mark.parametrize(
    ("parse", "text", "says"),
    [
        (units.parse_ms, "", "a time, such as"),
        (units.parse_ms, "fast", "a time, such as"),
        (units.parse_ms, "-1s", "a time, such as"),
        (units.parse_ms, "1e3", "a time, such as"),
        (units.parse_ms, "5us", "whole number of ms"),
        (units.parse_ms, "5w", "one of ms, s, m, h, d"),
        (units.parse_ms, "5S", 'unknown unit "S"'),
        (units.parse_ms, "0.5ms", "whole number of ms"),
        (units.parse_ms, "010", "start with 0"),
        (units.parse_ms, "1:30", "a time, such as"),
        (units.parse_ms, "9" * 5000, "too many digits"),
        (units.parse_ms, "٣s", "a time, such as"),
        (units.parse_bytes, "5MB", "write MiB"),
        (units.parse_bytes, "5x", "B, KiB, MiB or GiB"),
        (units.parse_bytes, "0.3k", "whole number of bytes"),
        (units.parse_count, "5k", "without a unit"),
        (units.parse_count, "1.0", "without a unit"),
        (units.parse_switch, "maybe", "true or false"),
    ],
)
def test_what_cannot_be_read(parse, text, says):
    with pytest.raises(ValueError, match=says):
        parse(text)


@pytest.mark.parametrize("word", ["true", "Yes", "on", "1"])
def test_on(word):
    assert units.parse_switch(word) is True


@pytest.mark.parametrize("word", ["false", "No", "OFF", "0"])
def test_off(word):
    assert units.parse_switch(word) is False


@pytest.mark.parametrize(
    "parse", [units.parse_ms, units.parse_us, units.parse_bytes, units.parse_count, units.parse_switch]
)
@pytest.mark.parametrize("value", [7, None, 1.5, True, []])
def test_what_is_not_text_is_left_alone(parse, value):
    assert parse(value) is value


@given(st.integers(0, 10**12))
def test_milliseconds_and_back(value):
    assert units.parse_ms(units.format_ms(value)) == value


@given(st.integers(0, 10**15))
def test_microseconds_and_back(value):
    assert units.parse_us(units.format_us(value)) == value


@given(st.integers(0, 2**50))
def test_bytes_and_back(value):
    assert units.parse_bytes(units.format_bytes(value)) == value


def test_shortest_form():
    assert [units.format_ms(ms) for ms in (0, 250, 1000, 90_000, 300_000)] == [
        "0",
        "250ms",
        "1s",
        "90s",
        "5m",
    ]
    assert [units.format_bytes(b) for b in (1500, 65536, 2**24, 2**30)] == ["1500B", "64KiB", "16MiB", "1GiB"]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("0", 0), ("007", 7), (str(2**64 - 1), 2**64 - 1)),
        *((each, None) for each in ("", "-1", "+1", "1.5", " 1", "1_0", "٣", "²", "9" * 21, "9" * 5000)),
    ],
)
def test_what_a_server_says_in_digits(text: str, number: int | None):
    assert units.whole_number(text) == number


@given(st.text(alphabet=st.characters()))
def test_quoted_text_stays_on_one_printable_line(text):
    shown = units.quoted(text)
    assert shown.isprintable()
    shown.encode()
    assert shown.startswith('"')
    assert shown.endswith('"')


def test_quoted_text_is_not_endless():
    assert len(units.quoted("x" * 10_000)) < 120


@given(st.text())
def test_random_text_is_a_number_or_a_value_error(text):
    for parse in (units.parse_ms, units.parse_us, units.parse_bytes, units.parse_count, units.parse_switch):
        try:
            value = parse(text)
        except ValueError:
            continue
        assert value >= 0
