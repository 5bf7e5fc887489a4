"""A real browser: Debian's chromium, which Playwright drives. Nothing is downloaded for it.

A page that asks another host for something, or complains in its console, fails the test that has it open.
"""

import contextlib
import shutil
from collections.abc import Iterator

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from .wait import PATIENCE

_ARGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
]
_DEADLINE_MS = 10_000


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """While it runs nothing else in this thread may use asyncio."""
    program = shutil.which("chromium")
    assert program, "chromium is missing: apt-get install chromium"
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=_ARGS)
        try:
            yield running
        finally:
            running.close()


@contextlib.contextmanager
def page_of(
    running: Browser, base: str, width: int = 1280, height: int = 900, allowed: tuple[str, ...] = ()
) -> Iterator[Page]:
    """A browser's page with cookies of its own. What it may complain about has one of `allowed` in it."""
    problems: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(each in message.text for each in allowed):
            problems.append(f"console: {message.text}")

    def asked(request: Request) -> None:
        if not request.url.startswith(f"{base}/"):
            problems.append(f"a request to {request.url}")

    context = running.new_context(viewport={"width": width, "height": height}, base_url=base)
    context.set_default_timeout(_DEADLINE_MS * PATIENCE)
    try:
        page = context.new_page()
        page.on("console", heard)
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        page.on("request", asked)
        yield page
    finally:
        context.close()
    assert not problems, problems
