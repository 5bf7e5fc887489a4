"""`magent metrics`: the proxy's own text, as it is."""

import pytest

from memagent import cli

TEXT = '# HELP memagent_up a "b" ü\nmemagent_up 1\n'


@pytest.mark.parametrize(("flags", "accept"), [([], ""), (["--openmetrics"], "application/openmetrics-text")])
def test_the_text_goes_to_standard_output(stand_in, capfd, flags, accept):
    with stand_in(lambda _: [{"ok": True, "content_type": "t", "text": TEXT}]) as proxy:
        assert cli.call(["metrics", *flags, "--socket", proxy.path]) == 0
    assert capfd.readouterr() == (TEXT, "")
    assert proxy.requests == [{"verb": "metrics", "accept": accept}]


def test_an_answer_without_a_text_is_another_language(stand_in, capfd):
    with stand_in(lambda _: [{"ok": True}]) as proxy:
        assert cli.call(["metrics", "--socket", proxy.path]) == 1
    out, err = capfd.readouterr()
    assert not out
    assert "does not know" in err
