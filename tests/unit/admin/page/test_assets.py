"""The page's files: whole, and without a word to anybody else."""

import hashlib
import re

from memagent.admin.page.assets import FOLDER, read_all

# What scripts/uplot brings: nobody edits it.
UPLOT = {
    "uplot/uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uplot/uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}


def own() -> dict[str, str]:
    return {name: each.content.decode() for name, each in read_all().items() if name not in UPLOT}


def test_what_is_served():
    found = read_all()
    assert found["index.html"].kind.startswith("text/html")
    assert found["main.js"].kind.startswith("text/javascript")
    assert found["page.css"].kind.startswith("text/css")
    assert len({each.tag for each in found.values()}) == len(found)
    assert (FOLDER / "uplot" / "LICENSE").exists()


def test_the_charts_library_is_as_it_was_published():
    found = read_all()
    assert {name: hashlib.sha256(found[name].content).hexdigest() for name in UPLOT} == UPLOT


def test_every_file_that_is_named_is_there():
    found = read_all()
    named = re.findall(r'(?:href|src)="page/([^"]+)"', own()["index.html"])
    assert len(named) >= 5
    for text in own().values():
        named += re.findall(r'from "\./([^"]+)"', text)
    assert set(named) <= found.keys()
    assert found.keys() <= {*named, "index.html"}


def test_no_other_host_and_no_text_as_html():
    for name, text in own().items():
        text = text.replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|@import|//cdn", text), name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text), name
        assert not re.search(r"<[^>]+ (style|on\w+)=", text), name
