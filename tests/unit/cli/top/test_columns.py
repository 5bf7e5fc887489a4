"""The table of columns: text, order, and what gives way."""

from dataclasses import replace

import pytest
from rich.cells import cell_len

from memagent.cli.top.columns import (
    BETWEEN,
    COLUMNS,
    columns_for,
    fit,
    how_long_us,
    in_order,
    per_cent,
    per_second,
)
from memagent.rates import Row, Traffic
from tests.support.control_stand_in import NOW_S, SERVER, WARM

BUSY = Traffic(12_345.6, 0.2, 4096.0, 0.982, 120.0, 1234.0)


def row(name="a", traffic=BUSY, queued=0, **changed):
    return Row(replace(SERVER, name=name, **changed), traffic, queued)


def column(title):
    return next(each for each in COLUMNS if each.title == title)


def texts(one):
    return {each.title: each.text(one, NOW_S) for each in COLUMNS}


def test_a_row():
    assert texts(row(queued=3)) == {
        "NAME": "a",
        "ROLE": "server",
        "STATE": "up",
        "FOR": "2 h",
        "OPS/S": "12,346",
        "HIT": "98.2%",
        "P50": "120us",
        "P99": "1.2ms",
        "ERR/S": "0.2",
        "QUEUE": "3",
        "JOURNAL": "-",
        "WARM": "-",
        "LEFT": "-",
        "NET/S": "4096B",
        "ADDRESS": "10.0.0.1:11211",
        "LAST REASON": "started",
    }


def test_what_cannot_be_told():
    shown = texts(row(traffic=Traffic(), backup=True))
    assert [shown[each] for each in ("OPS/S", "HIT", "P50", "P99", "ERR/S", "NET/S")] == ["-"] * 6
    assert shown["ROLE"] == "backup"


@pytest.mark.parametrize(
    ("warm", "state", "shown"),
    [
        (WARM, "warming", ("43%", "27 s")),
        (replace(WARM, state="paused", eta_s=None), "warming", ("43% paused", "-")),
        (replace(WARM, state="done"), "up", ("-", "-")),
        (None, "warming", ("0%", "-")),
        (replace(WARM, state="done"), "warming", ("0%", "-")),
    ],
)
def test_re_warms(warm, state, shown):
    found = texts(row(warm=warm, state=state))
    assert (found["WARM"], found["LEFT"]) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (0, "0"),
        (0.25, "0.2"),
        (9.96, "10"),
        (99_999.4, "99,999"),
        (99_999.6, "100k"),
        (1_234_567, "1.2M"),
    ],
)
def test_per_second(value, shown):
    assert per_second(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (8.2, "8us"),
        (999.4, "999us"),
        (999.6, "1.0ms"),
        (9_960, "10ms"),
        (999_600, "1.0s"),
        (67_108_864, "67s"),
        (5e9, "5000s"),
    ],
)
def test_how_long(value, shown):
    assert how_long_us(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "-"), (0, "0%"), (1, "100%"), (0.99999, "99.9%"), (1e-6, "0.1%")]
)
def test_per_cent(value, shown):
    assert per_cent(value) == shown


def test_the_pool_is_shown_where_there_are_several():
    one, other = row(), row(pool="users")
    assert columns_for([one, row("b")])[0].title == "NAME"
    assert [each.title for each in columns_for([one, other])[:2]] == ["POOL", "NAME"]


class TestOrder:
    ROWS = (
        row("b", replace(BUSY, requests_per_s=5.0)),
        row("c", Traffic(), state="down"),
        row("a", replace(BUSY, requests_per_s=9.0)),
        row("d", replace(BUSY, requests_per_s=5.0)),
    )

    @pytest.mark.parametrize(
        ("by", "backwards", "names"),
        [
            (None, False, "bcad"),
            (None, True, "dacb"),
            ("NAME", False, "abcd"),
            ("NAME", True, "dcba"),
            ("OPS/S", False, "abdc"),
            ("OPS/S", True, "bdac"),
            ("STATE", False, "cbad"),
        ],
    )
    def test_by(self, by, backwards, names):
        found = in_order(self.ROWS, NOW_S, column(by) if by else None, backwards)
        assert "".join(each.server.name for each in found) == names

    @pytest.mark.parametrize("by", COLUMNS, ids=lambda each: each.title)
    def test_every_column_sorts(self, by):
        warm = row("w", state="warming", warm=WARM, journal_keys=5)
        assert len(in_order([*self.ROWS, warm], NOW_S, by)) == 5


class TestFit:
    ROWS = (row("10.0.0.1:11211"), row("10.0.0.2:11211", state="returning"))

    def titles(self, width, rows=ROWS):
        return [each.title for each, _ in fit(rows, NOW_S, width)]

    def test_a_usual_terminal(self):
        usual = ["NAME", "STATE", "OPS/S", "HIT", "P50", "P99", "ERR/S", "JOURNAL", "WARM"]
        assert self.titles(78) == usual
        assert {"POOL", *usual} - {"ERR/S"} <= set(self.titles(78, [*self.ROWS, row(pool="users")]))

    def test_a_wide_one_has_all(self):
        assert self.titles(200) == [each.title for each in COLUMNS]

    @pytest.mark.parametrize("width", range(30, 240, 7))
    def test_it_fits(self, width):
        chosen = fit(self.ROWS, NOW_S, width)
        assert sum(wide for _, wide in chosen) + BETWEEN * (len(chosen) - 1) <= width
        for each, wide in chosen:
            assert wide >= each.least

    @pytest.mark.parametrize("width", [0, 1, 10])
    def test_what_stays_even_where_it_does_not_fit(self, width):
        assert self.titles(width) == ["NAME", "STATE", "OPS/S"]

    def test_a_long_name_is_cut_before_what_matters_is_lost(self):
        rows = [row("cache-one.of.some.long.domain.example:11211")]
        assert {"HIT", "P99", "JOURNAL", "WARM"} <= set(self.titles(78, rows))
        names = {each.title: wide for each, wide in fit(rows, NOW_S, 78)}
        assert 8 <= names["NAME"] < 40

    def test_names_of_wide_characters(self):
        rows = [row("緩存一號")]
        assert {each.title: wide for each, wide in fit(rows, NOW_S, 200)}["NAME"] == 8
        assert cell_len("緩存一號") == 8

    def test_no_rows(self):
        assert self.titles(78, []) == self.titles(78, [row("a")])
