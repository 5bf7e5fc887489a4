"""Metrics as text: read back by prometheus_client, which knows both formats."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import parser as text_parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from memagent.admin.families import NO_LABELS, Distribution, Family, Labels, render, wants_openmetrics

PARSERS = {False: text_parser, True: openmetrics_parser}


def read(*families: Family, openmetrics: bool) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Samples by name and labels."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    text = render(families, openmetrics).decode()
    for family in PARSERS[openmetrics].text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


@pytest.mark.parametrize("openmetrics", [False, True])
def test_counters_and_gauges(openmetrics: bool):
    found = read(
        Family("a_requests", "counter", "how many", [(NO_LABELS, 2**53 + 1)]),
        Family("a_ratio", "gauge", "how full", [(Labels(x="1", y="2"), 0.25), (Labels(x="2", y="2"), 0)]),
        Family("a_nothing", "gauge", "of nobody"),
        openmetrics=openmetrics,
    )
    assert found == {
        "a_requests_total": {(): 2**53 + 1},
        "a_ratio": {(("x", "1"), ("y", "2")): 0.25, (("x", "2"), ("y", "2")): 0},
    }


@pytest.mark.parametrize("openmetrics", [False, True])
def test_a_histogram_counts_upwards_and_agrees_with_itself(openmetrics: bool):
    value = Distribution((1, 0, 2), 7.5)
    bounds = (1.6e-05, 1.0)
    values = [(Labels(x="1"), value), (NO_LABELS, value)]
    family = Family("a_seconds", "histogram", "time", [], values, bounds)
    found = read(family, openmetrics=openmetrics)
    for labels in ((), (("x", "1"),)):
        buckets = {
            float(dict(each)["le"]): count
            for each, count in found["a_seconds_bucket"].items()
            if set(labels) == {pair for pair in each if pair[0] != "le"}
        }
        assert buckets == {1.6e-05: 1, 1.0: 1, math.inf: 3}
        assert found["a_seconds_count"][labels] == 3
        assert found["a_seconds_sum"][labels] == 7.5


@pytest.mark.parametrize("openmetrics", [False, True])
def test_families_say_what_they_are(openmetrics: bool):
    families = (Family("a", "counter", 'a "b" \\ c\nd', [(NO_LABELS, 1)]), Family("b", "gauge", "e"))
    text = render(families, openmetrics).decode()
    [first, second] = PARSERS[openmetrics].text_string_to_metric_families(text)
    assert (first.name, first.type, first.documentation) == ("a", "counter", 'a "b" \\ c\nd')
    assert (second.name, second.type, second.documentation) == ("b", "gauge", "e")
    assert text.endswith("# EOF\n") == openmetrics


@given(st.text(st.characters(exclude_categories=["Cs"])), st.booleans())
def test_any_label_comes_through(value: str, openmetrics: bool):
    # parsers of text split lines at more than \n
    value = "".join(value.splitlines())
    found = read(Family("a", "gauge", "m", [(Labels(x=value), 1)]), openmetrics=openmetrics)
    assert found == {"a": {(("x", value),): 1}}


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain;version=0.0.4", False),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4", True),
        ("text/html, application/openmetrics-text", True),
        ("application/openmetrics-texts", False),
    ],
)
def test_openmetrics_is_for_who_asks_for_it(accept: str, expected: bool):
    assert wants_openmetrics(accept) is expected


def test_labels_are_added_to():
    assert Labels(a="1").and_also(b="2").pairs == {"a": "1", "b": "2"}
