"""The page's paths: its files, who has logged in, and what it watches.

    GET    /, /page/...          files, for everybody: there is nothing in them
    GET    /page/session         who am I?
    POST   /page/session         log in: the token goes into a cookie
    DELETE /page/session         log out
    GET    /v1/watch             frames, as server-sent events
    GET    /v1/history           the last hour, for charts
    POST   /v1/tap               live requests, a line of JSON each time, until who asked has gone
    GET    /v1/what-if           which keys a change of a pool would move
    GET    /v1/survey            all keys of a pool, counted: how they spread, or by prefix; lines of JSON
    GET    /v1/actions/...       what may be done to a server or a migration now, and what each of it will do

What changes something the page asks of the API like anybody else.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from memagent.addresses import Address
from memagent.admin import requests, session, surveying
from memagent.admin.api import Proxy
from memagent.admin.audit import audited
from memagent.admin.auth import Caller, Tokens, role_by_token
from memagent.admin.guard import CALLER
from memagent.admin.guesses import Guesses, HeldError
from memagent.admin.page.actions import Action, actions_of, actions_of_migration
from memagent.admin.page.assets import read_all
from memagent.admin.page.watch import LONGEST_S, Watch
from memagent.admin.page.what_if import Answer, Wish, answer
from memagent.admin.requests import InvalidError, RefusedError, UnknownError
from memagent.snapshot import Snapshot
from memagent.units import quoted

_NOT_KEPT: Final = {"Cache-Control": "no-store"}
_Number = Annotated[float, Query(description="Only points later than that, since 1970.", allow_inf_nan=False)]


class LogIn(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    token: str = Field(max_length=4096)


class History(BaseModel):
    """Columns of the same length; null is what cannot be told. Five seconds from point to point."""

    at_s: list[float]
    requests_per_s: list[float | None]
    hit_ratio: list[float | None]
    p50_us: list[float | None]
    p99_us: list[float | None]
    errors_per_s: list[float | None]


class TapBody(BaseModel):
    """What a tap at the control socket takes."""

    model_config = ConfigDict(extra="forbid", strict=True)
    prefix: str = Field("", max_length=250)
    server: str | None = None
    pool: str | None = None
    backup: bool | None = None
    of_verb: str = ""
    per_s: int = Field(100, ge=1, le=requests.MOST_TAPPED_PER_S)


def make_page(
    watch: Watch,
    proxy: Proxy,
    listen: Address,
    tokens: Callable[[], Tokens],
    turned_away: Callable[[Caller, str], None],
    guesses: Guesses,
) -> APIRouter:
    router = APIRouter()
    _add_session(router, listen, tokens, turned_away, guesses)
    _add_files(router)
    _add_watching(router, watch)
    _add_actions(router, proxy.snapshot)
    _add_tap(router, proxy)
    _add_what_if(router, watch, proxy)
    _add_survey(router, proxy)
    return router


def _add_files(router: APIRouter) -> None:
    files: Final = read_all()

    @router.get("/", include_in_schema=False)
    async def index(request: Request) -> Response:
        return send(request, "index.html")

    @router.get("/page/{path:path}", include_in_schema=False)
    async def file(request: Request, path: str) -> Response:
        return send(request, path)

    def send(request: Request, path: str) -> Response:
        found = files.get(path)
        if found is None:
            raise UnknownError(f"there is no file {quoted(path)}")
        headers = {"ETag": found.tag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == found.tag:
            return Response(status_code=304, headers=headers)
        return Response(found.content, headers={**headers, "Content-Type": found.kind})


def _add_session(
    router: APIRouter,
    listen: Address,
    tokens: Callable[[], Tokens],
    turned_away: Callable[[Caller, str], None],
    guesses: Guesses,
) -> None:
    name = session.cookie_name(listen)

    @router.get("/page/session", include_in_schema=False)
    async def who(request: Request) -> dict[str, Any]:
        caller: Caller = request.scope[CALLER]
        known = tokens()
        return {
            "role": caller.role,
            "logged_in": caller.has_token and caller.role is not None,
            "can_log_in": known.read is not None or known.operator is not None,
        }

    @router.post("/page/session", include_in_schema=False)
    async def log_in(request: Request, body: LogIn) -> Response:
        given = body.token.strip().encode()
        caller: Caller = request.scope[CALLER]
        now_s = time.monotonic()
        try:
            guesses.check(caller.peer, now_s)
        except HeldError as held:
            turned_away(Caller(None, True, caller.peer), request.scope["path"])
            return JSONResponse(held.as_json(), 429, headers={"Retry-After": str(held.wait_s)})
        role = role_by_token(given, tokens())
        if role is None:
            guesses.note(caller.peer, given, now_s)
            turned_away(Caller(None, True, caller.peer), request.scope["path"])
            refusal = RefusedError(
                "this token is none of ours", "admin_read_token's or admin_operator_token's"
            )
            return JSONResponse(refusal.as_json(), 401)
        headers = dict(request.scope["headers"])
        cookie = session.keep(name, given, role, time.time(), session.is_tls(headers))
        for value in session.named(cookie.encode(), name):
            guesses.remember(value)
        return JSONResponse({"role": role}, headers={"Set-Cookie": cookie})

    @router.delete("/page/session", include_in_schema=False)
    async def log_out() -> Response:
        return Response(status_code=204, headers={"Set-Cookie": session.forget(name)})


def _add_watching(router: APIRouter, watch: Watch) -> None:
    @router.get("/v1/watch", include_in_schema=False)
    async def frames() -> Response:
        if watch.is_full:
            refusal = RefusedError("too many pages watch already", "close one")
            return JSONResponse(refusal.as_json(), 503, headers={"Retry-After": "10"})

        async def events() -> AsyncGenerator[bytes, None]:
            async for frame in watch.frames():
                yield frame
            yield b"event: again\ndata: {}\n\n"

        # Some proxies on the way would keep frames until they have many.
        headers = {**_NOT_KEPT, "X-Accel-Buffering": "no"}
        return StreamingResponse(events(), media_type="text/event-stream", headers=headers)

    @router.get("/v1/history", tags=["looking"])
    async def history(
        since_s: _Number = 0.0, pool: str | None = None, server: str | None = None, backup: bool = False
    ) -> History:
        """The last hour of a server, or of all that clients see."""
        if (pool is None) != (server is None):
            raise InvalidError("a server is named by its pool and its name", "pool=POOL&server=NAME")
        identity = None if pool is None or server is None else (pool, backup, server)
        found = watch.history.since(since_s, identity)
        if found is None:
            raise UnknownError(f"nothing is known of a server {quoted(server)}")
        return History(**found)  # type: ignore[arg-type]


def _add_actions(router: APIRouter, snapshot: Callable[[], Snapshot]) -> None:
    @router.get("/v1/actions/{pool}", include_in_schema=False)
    async def migration_actions(pool: str) -> list[Action]:
        """None where no keys of it are moving."""
        found = [each for each in snapshot().moving() if each.pool == pool]
        return [action for each in found for action in actions_of_migration(each)]

    @router.get("/v1/actions/{pool}/{name:path}", include_in_schema=False)
    async def actions(pool: str, name: str, backup: bool = False) -> list[Action]:
        for each in snapshot().pools:
            for server in each.servers:
                if (server.pool, server.backup, server.name) == (pool, backup, name):
                    return actions_of(server, each.has_copies)
        raise UnknownError(f"there is no server {quoted(name)}")


def _add_tap(router: APIRouter, proxy: Proxy) -> None:
    @router.post("/v1/tap", include_in_schema=False)
    async def tap(request: Request, body: TapBody) -> Response:
        caller: Caller = request.scope[CALLER]
        who = {"who": caller.who, "peer": caller.peer}
        asked = requests.Tap(verb="tap", **body.model_dump())
        lines = audited(proxy.answer, asked, "over HTTP", who, proxy.log)
        # What is refused is refused before anything is answered.
        first = await anext(lines)

        async def told() -> AsyncGenerator[bytes, None]:
            end_s = time.monotonic() + LONGEST_S
            async with aclosing(lines):
                yield _line(first)
                async for line in lines:
                    yield _line(line)
                    if time.monotonic() > end_s:
                        return

        return StreamingResponse(told(), media_type="application/x-ndjson", headers=_NOT_KEPT)


def _line(line: dict[str, Any]) -> bytes:
    return json.dumps(line["progress"]).encode() + b"\n"


def _add_what_if(router: APIRouter, watch: Watch, proxy: Proxy) -> None:
    one_at_a_time = asyncio.Lock()

    @router.get("/v1/what-if", include_in_schema=False)
    async def what_if(wish: Annotated[Wish, Query()]) -> Answer:
        if one_at_a_time.locked():
            raise RefusedError("keys are being counted already", "try again")
        async with one_at_a_time:
            return await answer(wish, watch.config(), proxy.snapshot())


def _add_survey(router: APIRouter, proxy: Proxy) -> None:
    @router.get("/v1/survey", include_in_schema=False)
    async def survey(request: Request, wish: Annotated[surveying.Wish, Query()]) -> Response:
        caller: Caller = request.scope[CALLER]
        lines = proxy.survey(wish)
        # What is refused is refused before anything is answered.
        first = await anext(lines)
        facts = wish.model_dump(exclude_defaults=True)
        proxy.log.info(
            "all keys are counted, asked over HTTP", who=caller.who, peer=caller.peer, request=facts
        )

        async def told() -> AsyncGenerator[bytes, None]:
            async with aclosing(lines):
                yield first
                async for line in lines:
                    yield line

        return StreamingResponse(told(), media_type="application/x-ndjson", headers=_NOT_KEPT)
