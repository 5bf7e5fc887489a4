"""The control API's paths: each makes a Request of the control socket's and gives its last line as JSON.

    GET  /health/live, /health/ready                 for everybody
    GET  /metrics, /openapi.json, /v1/...            readers: state, servers, keys, configuration, log level
    POST, PUT /v1/...                                operators: what acts; logged with who asked

- Nothing is waited for: an answer says how the server stands now, and a GET how it goes on.
- What is refused is {"error", "hint"}: 404 there is none, 422 the request is wrong, 409 not now.
- What `guard` has let in may do what its method says; paths know no tokens.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from memagent import __version__
from memagent.admin import requests
from memagent.admin.audit import Answer, audited, told
from memagent.admin.auth import Caller
from memagent.admin.guard import CALLER
from memagent.admin.keys import decoded
from memagent.admin.requests import InvalidError, RefusedError, UnknownError
from memagent.admin.surveying import Wish
from memagent.admin.writing import Change
from memagent.inspection.keys import shown
from memagent.logs import Logger
from memagent.observed import Hot, Slow
from memagent.snapshot import ServerSnapshot, Snapshot, from_json

_Line = dict[str, Any]
_KEYS_PATH: Final = b"/v1/keys/"


@dataclass(frozen=True, slots=True)
class Proxy:
    """What the API needs of the running proxy. `gaps`: why it is not ready, in words."""

    answer: Answer
    snapshot: Callable[[], Snapshot]
    gaps: Callable[[], list[str]]
    look_up: Callable[[bytes, str | None, bool], Awaitable[_Line]]
    write: Callable[[Change], Awaitable[str]]
    survey: Callable[[Wish], AsyncGenerator[bytes, None]]
    log: Logger


# ---------------------------------------------------------------- what comes in and goes out


class Refusal(BaseModel):
    """`force`: the same request with "force": true does it nevertheless."""

    error: str
    hint: str | None = None
    force: bool = False


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class DrainBody(_Body):
    force: bool = False


class ReplaceBody(_Body):
    address: str
    force: bool = False
    keep_data: bool = False


class FlushBody(_Body):
    pool: str
    confirm: Literal["flush_all"]


class FlushServerBody(_Body):
    confirm: Literal["flush_all"]


class LogLevel(_Body):
    level: Literal["debug", "info"]


class LogLevelBody(LogLevel):
    """`for_s`: for so many seconds."""

    for_s: requests.ForSeconds | None = None


class SetBody(_Body):
    """`expiry_s`: seconds to live, also beyond 30 days; 0 is for ever, -1 expired."""

    value_base64: str
    flags: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    expiry_s: Annotated[int, Field(ge=-1, le=2**31 - 1)] = 0


class Written(BaseModel):
    """What the proxy has said, as to any client."""

    reply: Literal["STORED", "DELETED", "NOT_FOUND"]


class Live(BaseModel):
    live: bool = True


class Ready(BaseModel):
    """`missing` is told to readers only."""

    ready: bool
    missing: list[str] | None = None


class Of(BaseModel):
    """A server as it stands, and what is left to do by hand."""

    server: ServerSnapshot
    text: str | None = None


class Reloaded(BaseModel):
    """`waiting`: settings that take effect at the next start."""

    changes: list[str]
    waiting: list[str]


class Configuration(BaseModel):
    """`addresses`: of each server in the order of the configuration, what is tried now."""

    config: dict[str, Any]
    addresses: list[list[str]]


class Done(BaseModel):
    ok: bool = True


_Backup = Annotated[
    bool | None, Query(description="A backup or a server, where both have that name. Usually not needed.")
]
_Base64 = Annotated[bool, Query(alias="base64", description="The path is base64.")]
_Pool = Annotated[str | None, Query(description="As at an address of this pool's own.")]
_Count = Annotated[int, Query(ge=1, le=requests.MOST_SHOWN, description="So many at most.")]
_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": Refusal, "description": text}
    for status, text in {
        400: "No HTTP that makes sense",
        401: "No token, or one that is none of ours",
        403: "The token of a reader",
        404: "There is no such path, pool or server",
        405: "Not with this method",
        409: "Not now",
        413: "The body is too large",
        415: "The body is no JSON",
        421: "The Host header names another machine",
        422: "The request is wrong",
        429: "Too many wrong tokens have come from there",
    }.items()
}


# ---------------------------------------------------------------- paths


def is_open(path: str) -> bool:
    """Is it for everybody? Health; and the page's files, which know nothing."""
    return path == "/" or path.startswith(("/health/", "/page/"))


def make_api(proxy: Proxy, *more: APIRouter) -> FastAPI:
    """The application that a Guard stands before."""
    api = FastAPI(
        title="memagent",
        version=__version__,
        description="The control API of a running memagent.",
        docs_url=None,  # a page from somebody else's server
        redoc_url=None,
        redirect_slashes=False,
        responses=_REFUSALS,
    )
    api.add_exception_handler(RefusedError, _refused)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(HTTPException, _http_error)
    api.include_router(_health(proxy))
    # For OpenAPI only: the guard has read the token.
    for router in (_looking(proxy), _acting(proxy), *more):
        api.include_router(router, dependencies=[Depends(HTTPBearer(auto_error=False))])
    return api


def _health(proxy: Proxy) -> APIRouter:
    router = APIRouter(prefix="/health", tags=["health"])

    @router.get("/live")
    async def live() -> Live:
        """The supervisor runs."""
        return Live()

    @router.get("/ready", responses={503: {"model": Ready, "description": "Not now"}})
    async def ready(request: Request, response: Response) -> Ready:
        """It serves, and of every key there is a live copy."""
        missing = proxy.gaps()
        response.status_code = 503 if missing else 200
        caller: Caller = request.scope[CALLER]
        return Ready(ready=not missing, missing=missing if caller.may("reader") else None)

    return router


def _looking(proxy: Proxy) -> APIRouter:
    router = APIRouter(tags=["looking"])

    async def ask(request: requests.Request) -> _Line:
        return await _last(proxy.answer(request))

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics(request: Request) -> Response:
        """What Prometheus is told."""
        line = await ask(requests.Metrics("metrics", request.headers.get("accept", "")))
        return Response(line["text"], media_type=line["content_type"])

    @router.get("/v1/state")
    async def state() -> Snapshot:
        """Everything that is going on."""
        return proxy.snapshot()

    @router.get("/v1/servers")
    async def servers() -> list[ServerSnapshot]:
        """The servers of all pools, a pool's backups after its servers."""
        return list(proxy.snapshot().servers())

    @router.get("/v1/servers/{pool}/{name:path}")
    async def server(pool: str, name: str, backup: _Backup = None) -> ServerSnapshot:
        """One server, by its name or its address."""
        line = await ask(requests.Look(verb="server", server=name, pool=pool, backup=backup))
        return from_json(ServerSnapshot, line["server"])

    @router.get("/v1/hot")
    async def hot(count: _Count = 20) -> Hot:
        """The keys that are asked for most, now."""
        return from_json(Hot, (await ask(requests.Hot("hot", count)))["hot"])

    @router.get("/v1/slow")
    async def slow(count: _Count = 100) -> Slow:
        """The requests that took long, the newest first."""
        return from_json(Slow, (await ask(requests.Slow("slow", count)))["slow"])

    @router.get("/v1/config")
    async def config() -> Configuration:
        """The configuration in force. Secrets are stars."""
        line = await ask(requests.Config("config"))
        return Configuration(config=line["config"], addresses=line["addresses"])

    @router.get("/v1/log-level")
    async def log_level() -> LogLevel:
        return LogLevel(level=(await ask(requests.LogLevel("log_level")))["level"])

    @router.get("/v1/keys/{key:path}")
    async def key(
        request: Request,
        key: str,
        is_base64: _Base64 = False,
        pool: _Pool = None,
        value: Annotated[bool, Query(description="Show the first 64 KiB of its value, too.")] = False,
    ) -> dict[str, Any]:
        """Where a key belongs, and what its servers have of it."""
        return await proxy.look_up(_key(request, is_base64), pool, value)

    return router


def _acting(proxy: Proxy) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["acting"])
    one = "/servers/{pool}/{name:path}"

    def refuse_at_the_end() -> None:
        if proxy.snapshot().draining:
            raise RefusedError("the proxy is ending")

    async def answer(asked: requests.Request) -> AsyncGenerator[_Line, None]:
        refuse_at_the_end()
        async for line in proxy.answer(asked):
            yield line

    async def act(request: Request, asked: requests.Request) -> _Line:
        """Logged, whatever comes of it."""
        return await _last(audited(answer, asked, "over HTTP", _who(request), proxy.log))

    async def act_on(request: Request, asked: requests.Request) -> Of:
        line = await act(request, asked)
        return Of(server=from_json(ServerSnapshot, line["server"]), text=line.get("text"))

    @router.post(one + "/drain")
    async def drain(
        request: Request, pool: str, name: str, backup: _Backup = None, body: DrainBody | None = None
    ) -> Of:
        """Take a server out of service in an orderly way."""
        force = body is not None and body.force
        asked = requests.Drain(verb="drain", server=name, pool=pool, backup=backup, force=force, wait=False)
        return await act_on(request, asked)

    @router.post(one + "/undrain")
    async def undrain(request: Request, pool: str, name: str, backup: _Backup = None) -> Of:
        """Let it in again."""
        asked = requests.Undrain(verb="undrain", server=name, pool=pool, backup=backup, wait=False)
        return await act_on(request, asked)

    @router.post(one + "/replace")
    async def replace(
        request: Request, pool: str, name: str, body: ReplaceBody, backup: _Backup = None
    ) -> Of:
        """Put another machine in a server's place; no key moves. `text`: what to write into the file."""
        asked = requests.Replace(
            verb="replace", server=name, pool=pool, backup=backup, wait=False, **body.model_dump()
        )
        return await act_on(request, asked)

    @router.post(one + "/rewarm/{what}")
    async def control_rewarm(
        request: Request,
        pool: str,
        name: str,
        what: Literal["pause", "resume", "abort"],
        backup: _Backup = None,
    ) -> Of:
        """Of the re-warm that is under way."""
        verb: Any = f"rewarm_{what}"
        asked = requests.RewarmControl(verb=verb, server=name, pool=pool, backup=backup)
        return await act_on(request, asked)

    @router.post(one + "/rewarm")
    async def rewarm(request: Request, pool: str, name: str, backup: _Backup = None) -> Of:
        """Copy a server's keys to it from its copies."""
        asked = requests.Rewarm(verb="rewarm", server=name, pool=pool, backup=backup, wait=False)
        return await act_on(request, asked)

    @router.post(one + "/flush")
    async def flush_server(
        request: Request, pool: str, name: str, body: FlushServerBody, backup: _Backup = None
    ) -> Of:
        """Forget everything on one server: what has a copy is found there."""
        asked = requests.FlushServer(
            verb="flush_server", server=name, pool=pool, backup=backup, confirm=body.confirm
        )
        return await act_on(request, asked)

    async def write(request: Request, verb: str, change: Change) -> Written:
        async def lines() -> AsyncGenerator[_Line, None]:
            refuse_at_the_end()
            yield {"reply": await proxy.write(change)}

        facts = {"verb": verb, "key": shown(change.key)}
        return Written(**await _last(told(lines(), facts, "over HTTP", _who(request), proxy.log)))

    @router.put("/keys/{key:path}")
    async def set_key(
        request: Request, key: str, body: SetBody, is_base64: _Base64 = False, pool: _Pool = None
    ) -> Written:
        """Set it, as a client does: its copies follow."""
        value = decoded(body.value_base64.encode(errors="replace"), "value_base64")
        change = Change(_key(request, is_base64), value, body.flags, body.expiry_s, pool)
        return await write(request, "set", change)

    @router.delete("/keys/{key:path}")
    async def delete_key(
        request: Request, key: str, is_base64: _Base64 = False, pool: _Pool = None
    ) -> Written:
        """Delete it everywhere, as a client does."""
        return await write(request, "delete", Change(_key(request, is_base64), pool=pool))

    @router.post("/reload")
    async def reload(request: Request) -> Reloaded:
        """Put the changed configuration in force. A file with a mistake changes nothing."""
        line = await act(request, requests.Reload("reload"))
        return Reloaded(changes=list(line["changes"]), waiting=list(line["waiting"]))

    @router.put("/log-level")
    async def set_log_level(request: Request, body: LogLevelBody) -> LogLevel:
        """Log more or less for some time, and until the next reload or start at most."""
        line = await act(request, requests.LogLevel("log_level", body.level, body.for_s))
        return LogLevel(level=line["level"])

    @router.post("/migrations/{pool}/{what}")
    async def control_migration(
        request: Request, pool: str, what: Literal["pause", "resume", "abort"]
    ) -> Done:
        """Of keys that move to other servers (see the state): hold, go on, or give up what is not copied."""
        verb: Any = f"migration_{what}"
        await act(request, requests.MigrationControl(verb=verb, pool=pool))
        return Done()

    @router.post("/flush")
    async def flush(request: Request, body: FlushBody) -> Done:
        """Forget everything on every server and backup: what a client's flush_all does."""
        await act(request, requests.Flush(verb="flush", pool=body.pool, confirm=body.confirm))
        return Done()

    return router


def _who(request: Request) -> dict[str, str]:
    """For the log."""
    caller: Caller = request.scope[CALLER]
    return {"who": caller.who, "peer": caller.peer}


def _key(request: Request, is_base64: bool) -> bytes:
    """By the path as it came: a key need not be UTF-8."""
    path: bytes = request.scope["raw_path"].partition(b"?")[0]
    if not path.startswith(_KEYS_PATH):
        raise UnknownError("there is no such path", "a slash of the path is written as it is: /v1/keys/")
    raw = unquote_to_bytes(path.removeprefix(_KEYS_PATH))
    return decoded(raw, "the key") if is_base64 else raw


# ---------------------------------------------------------------- answers


async def _last(answers: AsyncIterator[_Line]) -> _Line:
    return [line async for line in answers][-1]


def _json(status: int, refusal: RefusedError) -> Response:
    return JSONResponse(refusal.as_json(), status)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    status = 404 if isinstance(error, UnknownError) else 422 if isinstance(error, InvalidError) else 409
    return _json(status, error)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return _json(422, RefusedError(f"{where}: {first['msg']}", "GET /openapi.json says what may be asked"))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    answer = _json(error.status_code, RefusedError(error.detail.lower(), "GET /openapi.json lists the paths"))
    answer.headers.update(error.headers or {})
    return answer
