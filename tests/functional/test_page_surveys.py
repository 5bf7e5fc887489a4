"""The page's views of all keys, in a real browser: how they are spread, and which there are."""

import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Locator, Page, expect

from memagent.inspection.keys import shown
from tests.functional.pages import HOSTILE, Case, Open, as_base64, opening
from tests.support.liar import Liar, Talk

ODD = [b"!" + key[:249] for key in HOSTILE]
SHOP = [b"shop:%d:%b" % (number, what) for number in range(4) for what in (b"cart", b"list")]
NO_COPY = [b"user:%d" % number for number in range(0, 50, 10)]
STUCK = {"prefixes": ["stuck:"], "probe_min_ms": 20, "probe_max_ms": 100}


def never_ends(talk: Talk) -> None:
    """A server that begins to list its keys."""
    while True:
        line = talk.line()
        if line.startswith(b"lru_crawler"):
            talk.say(b"key=one exp=-1 la=1700000000 cas=1 fetch=no cls=1 size=60\r\n")
            talk.silence()
        talk.answer(line)


class Surveyed(Case):
    """Its pool "stuck" has the server "slow", whose list of keys never ends."""

    def __init__(self, stack: ExitStack) -> None:
        self.slow = stack.enter_context(Liar(never_ends, says_who=False))
        server = {"address": self.slow.address, "name": "slow"}
        super().__init__(stack, {"stuck": STUCK | {"servers": [server]}})
        self.set([b"user:%d" % number for number in range(300)])
        self.set(SHOP, b"v" * 900)
        self.set([b"many:%04d" % number for number in range(1100)])
        self.set(ODD)
        with self.servers[2].connect() as wire:
            for key in NO_COPY + ODD:
                wire.expect(b"delete %b\r\n" % key, b"DELETED\r\n")


@pytest.fixture(scope="module")
def case() -> Iterator[Surveyed]:
    with ExitStack() as stack:
        yield Surveyed(stack)


@pytest.fixture
def open_page(case: Surveyed) -> Iterator[Open]:
    with opening(case) as opened:
        yield opened


def card_of(page: Page, table: str, name: str) -> Locator:
    header = page.get_by_role("rowheader", name=name, exact=True)
    return page.get_by_role("table", name=table).get_by_role("row").filter(has=header)


def cell(row: Locator, title: str) -> Locator:
    return row.locator(f'[data-title="{title}"]')


def said(page: Page) -> Locator:
    return page.locator("main p[role=status]")


def verdict(page: Page) -> Locator:
    return page.locator("main .health:not([hidden])")


def count(page: Page, pool: str = "main") -> None:
    page.get_by_label("Pool").select_option(pool)
    page.get_by_role("button", name="Count").click()


def list_keys(page: Page, prefix: str = "", pattern: str = "") -> None:
    page.get_by_label("Keys that begin with").fill(prefix)
    page.get_by_label("and match").fill(pattern)
    page.get_by_role("button", name="List keys").click()
    expect(said(page)).to_contain_text("keys were read")


def test_how_keys_are_spread_and_which_have_no_copy(open_page: Open):
    page = open_page()
    page.get_by_role("link", name="Distribution").click()
    count(page)
    alone = len(NO_COPY + ODD)
    expect(verdict(page)).to_contain_text(f"No copy: {alone} of")
    keys = 300 + len(SHOP) + 1100 + len(ODD)
    read = f"{2 * keys - alone:,} keys were read"
    expect(said(page)).to_contain_text(read)
    expect(cell(card_of(page, "Backups", "x"), "Keys")).to_have_text(f"{keys - alone:,}")
    expect(cell(card_of(page, "Backups", "x"), "Share of keys")).to_have_text("100 %")
    for name in "ab":
        expect(cell(card_of(page, "Servers", name), "By chance")).to_contain_text("chance gives")
        expect(cell(card_of(page, "Servers", name), "Strays")).to_have_text("0")
    expect(page.locator(".keys li")).to_have_count(alone)
    page.get_by_role("link", name=NO_COPY[-1].decode(), exact=True).click()
    expect(verdict(page)).to_have_text("The owner has it, its copy does not.")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/v1/survey" in request.url else None)
    page.go_back()
    expect(said(page)).to_contain_text(read)
    assert asked == []


def test_keys_by_their_prefix(open_page: Open):
    page = open_page()
    page.get_by_role("link", name="Browse").click()
    list_keys(page)
    group = card_of(page, "Groups", "shop:")
    expect(cell(group, "Keys")).to_have_text("8")
    expect(cell(group, "Bytes")).to_have_text(re.compile(r"^7\.\d KiB"))
    group.get_by_role("link").click()
    expect(verdict(page)).to_have_text(re.compile("^8 keys, "))
    card_of(page, "Groups", "shop:2:").get_by_role("link").click()
    expect(verdict(page)).to_have_text(re.compile("^2 keys, "))
    row = card_of(page, "Keys", "shop:2:cart")
    expect(cell(row, "Expires")).to_have_text("never")
    expect(cell(row, "Last access")).to_have_text(re.compile("ago$"))
    expect(cell(row, "Server")).to_have_text(re.compile("^[ab]$"))
    page.locator(".crumbs").get_by_role("link", name="shop:").click()
    expect(verdict(page)).to_have_text(re.compile("^8 keys, "))
    page.go_back()
    expect(verdict(page)).to_have_text(re.compile("^2 keys, "))
    # As for somebody who was given the address.
    page.reload()
    expect(page.get_by_label("Keys that begin with")).to_have_value("shop:2:")
    expect(verdict(page)).to_have_count(0)
    page.get_by_role("button", name="List keys").click()
    page.get_by_role("link", name="shop:2:cart", exact=True).click()
    expect(verdict(page)).to_have_text("Owner and copy have the same.")


def test_keys_by_a_pattern_and_on_one_server(open_page: Open):
    page = open_page(hash_="#/browse/main")
    list_keys(page, pattern="*:?:list")
    expect(page.get_by_role("table", name="Keys").get_by_role("link")).to_have_text(
        [f"shop:{number}:list" for number in range(4)]
    )
    list_keys(page, pattern="nothing*")
    expect(verdict(page)).to_have_text("No key is like that.")
    page.get_by_label("on", exact=True).select_option("x (backup)")
    list_keys(page, prefix="user:")
    expect(verdict(page)).to_have_text(re.compile(f"^{300 - len(NO_COPY)} keys, "))


def test_many_keys_come_in_pages(open_page: Open):
    page = open_page(hash_=f"#/browse/main/{as_base64(b'many:')}")
    page.get_by_role("button", name="List keys").click()
    where = page.locator(".turning [role=status]")
    expect(where).to_have_text("1 to 100 of 1,000, and there are more")
    for _ in range(9):
        page.get_by_role("button", name="Next").click()
    expect(where).to_contain_text("901 to 1,000")
    page.get_by_role("link", name="Read on from here").click()
    expect(where).to_have_text("1 to 100 of 100")
    expect(page.get_by_role("link", name="many:1099")).to_be_visible()
    page.get_by_role("link", name="From the beginning").click()
    expect(page.get_by_role("link", name="many:0000")).to_be_visible()


def test_hostile_keys_stay_text_on_a_phone(open_page: Open):
    page = open_page(hash_="#/browse/main", width=360)
    page.on("dialog", lambda dialog: pytest.fail(f"a script has run: {dialog.message}"))
    list_keys(page)
    for key in ODD:
        link = page.get_by_role("table", name="Keys").get_by_text(shown(key), exact=True)
        expect(link).to_have_attribute("href", f"#/key/{as_base64(key)}/main")
    expect(page.locator("main script, main img, main b")).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # A prefix that nobody can type, by an address.
    page.goto(f"/#/browse/main/{as_base64(ODD[2])}")
    page.get_by_role("button", name="List keys").click()
    expect(page.get_by_role("table", name="Keys").get_by_role("link")).to_have_text([shown(ODD[2])])
    page.get_by_role("link", name="Distribution").click()
    count(page)
    for key in ODD:
        expect(page.locator(".keys").get_by_text(shown(key), exact=True)).to_be_visible()
    expect(page.locator("main script, main img, main b")).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_one_at_a_time_until_it_is_stopped(case: Surveyed, open_page: Open):
    page, other = open_page(hash_="#/distribution"), open_page(hash_="#/browse/main/dXNlcjo")
    refused = other.get_by_role("alert").filter(has_text="keys are being counted already")
    count(page, "stuck")
    expect(page.get_by_role("progressbar")).to_be_visible()
    expect(page.locator(".survey")).to_contain_text("0 of 1 servers")
    list_button = other.get_by_role("button", name="List keys")
    list_button.click()
    expect(refused).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    expect(said(page)).to_have_text("Stopped.")
    expect(page.get_by_role("progressbar")).to_be_hidden()
    press_until(list_button, said(other))
    count(page, "stuck")
    expect(page.locator(".survey")).to_contain_text("0 of 1 servers")
    # To leave is to stop.
    page.get_by_role("link", name="Overview").click()
    press_until(list_button, said(other))
    case.slow.close()
    page.get_by_role("row").filter(has_text="slow").get_by_text("down").wait_for()
    page.get_by_role("link", name="Distribution").click()
    count(page, "stuck")
    expect(page.locator(".health.busy")).to_contain_text("nothing is known of their keys: slow: ")


def press_until(button: Locator, status: Locator) -> None:
    """What has been stopped ends a moment later, and until then others are refused."""
    expect(button).to_be_enabled()
    for _ in range(100):
        button.click()
        outcome = button.page.locator("main p[role=status]:not(:empty), main [role=alert]:not([hidden])")
        expect(outcome.filter(has_text=re.compile("keys were read|already"))).to_have_count(1)
        if "keys were read" in status.inner_text():
            return
    raise AssertionError("it is refused for ever")
