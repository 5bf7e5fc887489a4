"""The page in a real browser, before a real cluster."""

import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from memagent.inspection.keys import shown
from tests.functional.pages import ACT, HOSTILE, LOOK, REFUSED, Case, Open, as_base64, opening, start_servers
from tests.support.browser import page_of
from tests.support.memcached import Memcached
from tests.support.ports import free_port
from tests.support.proxy import Proxy
from tests.support.wait import PATIENCE, wait_until

UNSEEN = "a\u202eb\u0085".encode()


@pytest.fixture(scope="module")
def case() -> Iterator[Case]:
    with ExitStack() as stack:
        yield Case(stack)


@pytest.fixture
def open_page(case: Case) -> Iterator[Open]:
    with opening(case) as opened:
        yield opened


def row_of(page: Page, name: str) -> Locator:
    header = page.get_by_role("rowheader", name=re.compile(rf"^{name}\b"))
    return page.get_by_role("row").filter(has=header)


def test_without_the_right_token_there_is_nothing(case: Case):
    with page_of(case.browser, case.base, allowed=(REFUSED,)) as page:
        good: list[str] = []
        page.on("response", lambda answer: good.append(answer.url) if answer.ok else None)
        page.goto("/")
        for token in ("wrong", LOOK.upper(), "<script>alert(1)</script>"):
            page.get_by_label("Token").fill(token)
            page.get_by_role("button", name="Log in").click()
            expect(page.get_by_role("alert")).to_have_text("this token is none of ours")
        assert [url for url in good if "/v1/" in url] == []
        assert page.context.cookies() == []
        expect(page.get_by_role("table")).to_have_count(0)


def test_logging_in_and_out(case: Case, open_page: Open):
    page = open_page(ACT)
    [cookie] = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert page.evaluate("document.cookie") == ""
    page.reload()
    expect(page.locator("#who")).to_contain_text("operator")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    assert page.context.cookies() == []


def test_a_server_dies_and_comes_back(case: Case, open_page: Open):
    page = open_page()
    health = page.get_by_role("status").filter(has_text="server")
    expect(health).to_have_text("All 3 servers are up.")
    case.set([b"key:%d" % number for number in range(200)])
    for name in "abx":
        expect(row_of(page, name)).to_contain_text("up")
        expect(row_of(page, name).locator("[data-title=Items]")).to_have_text(re.compile("[1-9]"))
    expect(page.locator(".chart canvas")).to_have_count(3)
    case.servers[0].kill()
    expect(row_of(page, "a")).to_contain_text("✕ down")
    expect(health).to_have_class("health bad")
    expect(health).to_contain_text("a")
    case.servers[0].restart()
    expect(row_of(page, "a")).to_contain_text("● up")
    expect(health).to_have_text("All 3 servers are up.")
    wait_until(lambda: int(case.servers[0].stats()["curr_items"]) > 0, 10, "it to be warm")


def test_on_a_phone_nothing_is_cut_off(open_page: Open):
    page = open_page(width=360)
    expect(row_of(page, "a")).to_contain_text("up")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def look_at(page: Page, key: str) -> None:
    page.get_by_role("link", name="Key", exact=True).click()
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_role("button", name="Look").click()
    expect(page.locator(".key-name")).to_have_text(key)


def test_a_key(case: Case, open_page: Open):
    page = open_page(ACT)
    with case.proxy.connect() as wire:
        wire.expect(b'set user:1 5 0 8\r\n{"a": 1}\r\n', b"STORED\r\n")
    look_at(page, "user:1")
    expect(page.locator(".health")).to_have_text("Owner and copy have the same.")
    owner = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="Owner"))
    for text in ("yes", "8 B", "5", "for ever"):
        expect(owner).to_contain_text(text)
    expect(page.get_by_label("Value", exact=True)).to_contain_text('"a": 1')
    page.get_by_role("button", name="Hex").click()
    expect(page.get_by_label("Value", exact=True)).to_contain_text("7b 22 61 22")
    page.get_by_text("Set or delete it").click()
    expect(page.get_by_label("Expires in seconds")).to_have_value("0")
    expect(page.get_by_text("It has flags 5 now")).to_be_visible()
    page.get_by_label("New value, as text").fill("näher" * 10_000)
    page.get_by_role("button", name="Set…").click()
    expect(page.get_by_role("alert")).to_contain_text("at most")
    page.get_by_label("New value, as text").fill("näher")
    page.get_by_role("button", name="Set…").click()
    page.get_by_role("button", name="Set it").click()
    expect(page.get_by_role("dialog")).to_contain_text("The proxy says STORED.")
    page.get_by_role("button", name="Close").click()
    expect(page.locator(".key-name")).to_be_focused()
    expect(page.get_by_label("Value", exact=True)).to_have_text("näher")
    with case.proxy.connect() as wire:
        wire.expect(b"get user:1\r\n", "VALUE user:1 0 6\r\nnäher\r\nEND\r\n".encode())
    page.get_by_text("Set or delete it").click()
    page.get_by_role("button", name="Delete…").click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("button", name="Delete…")).to_be_focused()
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_role("dialog")).to_contain_text("The proxy says DELETED.")
    page.keyboard.press("Escape")
    expect(page.locator(".key-name")).to_be_focused()
    expect(page.locator(".health")).to_contain_text("It is nowhere")
    assert [server.get(b"user:1") for server in case.servers] == [None] * 3

    def unreachable(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "reachable": False})

    page.route("**/v1/keys/**", unreachable)
    page.get_by_role("button", name="Look").click()
    expect(page.locator(".health.busy")).to_contain_text("No client reaches this key")
    expect(page.locator("details")).to_have_count(0)


VALUES = [b"<script>alert(1)</script>", b"\xff\xfe\0<b>bold</b>", b'{"a": "<img src=x onerror=alert(1)>"}']


def test_hostile_keys_and_values_stay_text(case: Case, open_page: Open):
    page = open_page()
    page.on("dialog", lambda dialog: pytest.fail(f"a script has run: {dialog.message}"))
    for number, key in enumerate(HOSTILE):
        value = VALUES[number % len(VALUES)]
        case.set([key], value)
        page.goto(f"/#/key/{as_base64(key)}")
        expect(page.locator(".key-name")).to_have_text(shown(key))
        expect(page.get_by_role("button", name="Hex")).to_be_visible()
        expect(page.locator("main script, main img, main b")).to_have_count(0)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for nonsense in ("#/key/*", "#/key/%"):
        page.goto(f"/{nonsense}")
        expect(page.locator(".health.bad")).to_have_text(re.compile("leads nowhere"))
    look_at(page, HOSTILE[0].decode())
    expect(page.get_by_label("Value", exact=True)).to_have_text(VALUES[0].decode())
    expect(page.locator("details")).to_have_count(0)


def act(page: Page, name: str, text: str) -> Locator:
    """What comes of it, once it has been asked for and agreed to."""
    page.get_by_role("button", name=f"{name}…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(text)
    dialog.get_by_role("button", name=name, exact=True).click()
    return dialog


def test_a_server_is_drained_flushed_and_let_in_again(case: Case, open_page: Open):
    page = open_page(ACT)
    page.get_by_role("link", name="a", exact=True).click()
    state = page.locator("main .badge")
    expect(state).to_have_text("● up")
    case.servers[0].set(b"there", b"value")
    expect(act(page, "Flush it", "It loses everything")).to_contain_text("a is up now.")
    page.get_by_role("button", name="Close").click()
    assert case.servers[0].get(b"there") is None
    expect(act(page, "Drain it", "Requests under way are answered first")).to_contain_text("a is")
    page.get_by_role("button", name="Close").click()
    expect(state).to_have_text("○ drained")
    refused = act(page, "Re-warm it", "Refill the server a")
    expect(refused.get_by_role("alert")).to_have_text("a is drained: undrain it first")
    page.keyboard.press("Escape")
    act(page, "Undrain it", "back into service?")
    page.get_by_role("button", name="Close").click()
    expect(state).to_have_text("● up")
    page.get_by_role("button", name="Replace it…").click()
    page.get_by_label("The new machine's address").fill("nowhere at all")
    page.get_by_role("dialog").get_by_role("button", name="Replace it").click()
    expect(page.get_by_role("alert")).to_contain_text("address")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("link", name="Overview").click()
    page.get_by_role("button", name="Reload the configuration…").click()
    page.get_by_role("dialog").get_by_role("button", name="Reload", exact=True).click()
    expect(page.get_by_role("dialog")).to_contain_text("Nothing has changed.")


@pytest.fixture
def servers() -> Iterator[list[Memcached]]:
    with ExitStack() as stack:
        yield start_servers(stack)


def test_keys_move_to_another_server(case: Case, servers: list[Memcached], request: pytest.FixtureRequest):
    listen = f"127.0.0.1:{free_port()}"
    settings = {"admin_listen": listen, "admin_operator_token": ACT}
    pool = {"on_change": "migrate", "request_timeout_ms": 300, "rewarm_keys_per_s": 20}
    proxy = Proxy.start(servers[:2], pool=pool, settings=settings)
    request.addfinalizer(proxy.clean_up)
    with proxy.connect() as wire:
        for number in range(1000):
            wire.expect(b"set key:%d 0 0 5\r\nvalue\r\n" % number, b"STORED\r\n")
    with page_of(case.browser, f"http://{listen}", allowed=(REFUSED,)) as page:
        page.goto("/#/")
        line = page.locator(".migration")
        expect(page.locator("#connection")).to_have_text("● live")
        expect(line).to_be_hidden()
        proxy.write_config(servers, pool=pool, settings=settings)
        proxy.reload()
        expect(line).to_contain_text(re.compile(r"Keys move to other servers: copying.* keys \("))
        expect(page.get_by_role("button", name="Pause it…")).to_have_count(0)
        page.get_by_role("button", name="Log in").click()
        page.get_by_label("Token").fill(ACT)
        page.get_by_role("button", name="Log in").last.click()
        expect(page.locator("#who")).to_contain_text("operator")
        expect(act(page, "Pause it", "Keys of pool main are moving")).to_contain_text("The proxy does so.")
        page.get_by_role("button", name="Close").click()
        expect(line).to_contain_text("servers: paused")
        expect(act(page, "Go on", "held at this moment")).to_contain_text("The proxy does so.")
        page.get_by_role("button", name="Close").click()
        expect(line).to_contain_text("servers: copying")
        expect(act(page, "Abort it", "misses")).to_contain_text("The proxy does so.")
        page.get_by_role("button", name="Close").click()
        expect(line).to_contain_text("servers: aborted")
        expect(line.get_by_role("button")).to_have_count(0)
        expect(line.get_by_role("progressbar")).to_have_count(0)


def test_that_there_is_no_news_is_spoken_once(open_page: Open):
    page = open_page()
    page.evaluate("let asked = 0; performance.now = () => (asked += 10000)")
    expect(page.locator("#connection")).to_have_text(re.compile("^✕ no news for [0-9]"))
    expect(page.locator("#connection").get_by_role("status")).to_have_text("✕ no news")


LONGEST_TURN = """() => new Promise((over) => {
  let last = performance.now(), longest = 0;
  const end = last + 3000;
  const turn = () => {
    const now = performance.now();
    [longest, last] = [Math.max(longest, now - last), now];
    if (now < end) setTimeout(turn, 10);
    else over(longest);
  };
  turn();
})"""


def test_two_hundred_servers_do_not_freeze_it(case: Case, request: pytest.FixtureRequest):
    """One memcached with so many addresses of loopback: to the proxy each is a server of its own."""
    hosts = [f"127.0.1.{number}" for number in range(1, 201)]
    memcached = Memcached.start(args=("-l", ",".join(hosts), "-c", "4000"))
    request.addfinalizer(memcached.stop)
    request.addfinalizer(memcached.kill)
    listen = f"127.0.0.1:{free_port()}"
    servers = [f"{host}:{memcached.port}" for host in hosts]
    proxy = Proxy.start(settings={"admin_listen": listen, "pools": {"main": {"servers": servers}}})
    request.addfinalizer(proxy.clean_up)
    with page_of(case.browser, f"http://{listen}") as page:
        page.goto("/#/")
        expect(page.locator("main tbody tr")).to_have_count(200)
        expect(page.locator("main")).to_contain_text("All 200 servers are up")
        assert page.evaluate(LONGEST_TURN) < 1000 * PATIENCE
        page.get_by_role("link", name="Distribution").click()
        page.get_by_role("button", name="Count").click()
        assert page.evaluate(LONGEST_TURN) < 1000 * PATIENCE
        expect(page.locator("main tbody tr")).to_have_count(200)


def test_a_reader_may_not_act(case: Case, open_page: Open):
    page = open_page(hash_="#/server/main/server/a")
    expect(page.locator("main .badge")).to_have_text("● up")
    expect(page.locator("main button")).to_have_count(0)
    said = """fetch("v1/servers/main/a/drain", {method: "POST"}).then((answer) => answer.status)"""
    assert page.evaluate(said) == 403


def test_hot_slow_and_live_requests(case: Case, open_page: Open):
    page = open_page(ACT)
    with case.proxy.connect() as wire:
        for _ in range(300):
            wire.expect(b"get <b>hot</b>%b\r\n" % UNSEEN, b"END\r\n")
        page.get_by_role("link", name="Hot keys").click()
        expect(page.get_by_role("link", name=f"<b>hot</b>{shown(UNSEEN)}")).to_be_visible()
        page.get_by_role("link", name="Live requests").click()
        page.get_by_label("Keys that begin with").fill("tapped:")
        page.get_by_role("button", name="Listen").click()
        row = page.get_by_role("row").filter(has_text="tapped:<i>")
        about, counted = page.locator("p[role=status]"), page.locator("p[role=status] + p")
        expect(counted).to_contain_text("0 requests matched")
        expect(about).to_have_text("Listening…")
        wire.expect(b"get other\r\n", b"END\r\n")
        wire.expect(b"get tapped:<i>\r\n", b"END\r\n")
        expect(row).to_contain_text("get")
        expect(counted).to_contain_text("1 requests matched")
        page.get_by_role("button", name="Stop").click()
        expect(about).to_have_text("Stopped.")
        expect(page.get_by_role("button", name="Listen")).to_be_visible()
        page.get_by_role("link", name="Slow requests").click()
        for server in case.servers:
            server.pause()
        try:
            wire.send(b"get slow:1\r\n")
            # slow enough once its servers have been silent for a while, which they are as long as this takes
            wire.read_until(b"END\r\n")
        finally:
            for server in case.servers:
                server.resume()
        expect(page.get_by_role("row").filter(has_text="slow:1").first).to_be_visible()
    page.get_by_role("link", name="Overview").click()
    expect(page.locator(".health")).to_have_text("All 3 servers are up.")


def test_what_if(case: Case, open_page: Open):
    page = open_page()
    case.set([b"key:%d" % number for number in range(100)])
    page.get_by_role("link", name="What if").click()
    page.get_by_label("Which").select_option("b")
    page.get_by_role("button", name="Count").click()
    row = page.get_by_role("row").filter(has=page.get_by_role("cell", name="b", exact=True))
    expect(row).to_contain_text("a")
    page.get_by_label("Change").select_option("add")
    page.get_by_label("Which").fill("no address")
    page.get_by_role("button", name="Count").click()
    expect(page.locator(".health.bad")).to_be_visible()
