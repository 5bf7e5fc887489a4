"""The page in a real browser, before a real cluster: what the tests of its views share."""

import base64
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from playwright.sync_api import Browser, Page, expect

from tests.support.browser import browser, page_of
from tests.support.memcached import Memcached
from tests.support.ports import free_port
from tests.support.proxy import Proxy
from tests.support.wait import PATIENCE

LOOK, ACT = "look-token", "sésame"
REFUSED = "Failed to load resource"  # what chromium says of an answer of 401
Open = Callable[..., Page]
HOSTILE = [
    *(b"<script>alert(1)</script>", b"<img/src=x/onerror=alert(1)>", b"\xff\xfe<b>", b"k" * 250),
    *("a\u202eexe.txt".encode(), "\u009b2Jc1".encode()),
]


def start_servers(stack: ExitStack) -> list[Memcached]:
    servers = [Memcached.start() for _ in range(3)]
    for server in servers:
        stack.callback(server.stop)
        stack.callback(server.kill)
    return servers


class Case:
    """Two servers, a backup, a proxy and a browser, for all tests of a file."""

    def __init__(self, stack: ExitStack, other_pools: Mapping[str, Any] | None = None) -> None:
        self.servers = start_servers(stack)
        listen = f"127.0.0.1:{free_port()}"
        named = zip(self.servers, "abx", strict=True)
        names = [{"address": each.address, "name": name} for each, name in named]
        main = {"servers": names[:2], "backups": names[2:], "probe_min_ms": 20, "probe_max_ms": 100}
        tokens = {"admin_read_token": LOOK, "admin_operator_token": ACT}
        pools = {"main": main, **(other_pools or {})}
        self.proxy = Proxy.start(settings={"admin_listen": listen, "slow_ms": 1, **tokens, "pools": pools})
        stack.callback(self.proxy.clean_up)
        self.base = f"http://{listen}"
        self.browser: Browser = stack.enter_context(browser())

    def set(self, keys: list[bytes], value: bytes = b"value") -> None:
        """Through the proxy, so on owner and copy."""
        with self.proxy.connect() as wire:
            wire.send(b"".join(b"set %b 0 0 %d\r\n%b\r\n" % (key, len(value), value) for key in keys))
            for _ in keys:
                wire.read_until(b"STORED\r\n")


@contextmanager
def opening(case: Case) -> Iterator[Open]:
    """Pages that somebody has logged in to."""
    expect.set_options(timeout=10_000 * PATIENCE)
    with ExitStack() as stack:

        def open_page(token: str = LOOK, hash_: str = "#/", width: int = 1280) -> Page:
            page = stack.enter_context(page_of(case.browser, case.base, width, allowed=(REFUSED,)))
            page.goto(f"/{hash_}")
            page.get_by_label("Token").fill(token)
            page.get_by_role("button", name="Log in").click()
            expect(page.locator("#connection")).to_have_text("● live")
            return page

        yield open_page


def as_base64(key: bytes) -> str:
    """As it stands in the page's addresses."""
    return base64.urlsafe_b64encode(key).decode().rstrip("=")
