"""What stands before every path of the control API: nothing of a request is understood before it has passed.

    request ─▶ is the Host ours? ─▶ who is it? ─▶ may he? ─▶ JSON, and not too much? ─▶ the application
                  421                 401, 429      403        415, 413

- GET looks, every other method acts: so no path can be forgotten.
- What everybody may see is the exception: `is_open`, told apart by the application.
- No CORS header is ever sent, so that a browser shows no page our answers. Whatever a page of somebody else's
  sends that would act is refused, with or without a cookie of ours.
- What an answer without an end goes on saying is for who may hear it still: it ends with the token.
- Every answer tells browsers what a page of ours may load (its own files) and who may frame it (nobody).
"""

import contextlib
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from memagent.addresses import Address
from memagent.admin.auth import Caller, Role, Tokens, is_own_name, role_of
from memagent.admin.guesses import Guesses, HeldError
from memagent.admin.requests import RefusedError
from memagent.admin.session import Headers, cookie_name, named, proven, role_in, site_of

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

CALLER: Final = "memagent.caller"
MOST_BODY_BYTES: Final = 64 * 1024

_WWW: Final = (b"www-authenticate", b"Bearer")
_CLOSE: Final = (b"connection", b"close")
_THE_END: Final = {"type": "http.response.body", "body": b""}
_NOT_KEPT: Final = (b"cache-control", b"no-store")
_CONTENT_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    b"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_FOR_BROWSERS: Final = (
    (b"content-security-policy", _CONTENT_POLICY),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)


class Guard:
    """Before `application`, which finds the Caller in its scope at `CALLER`."""

    def __init__(
        self,
        application: Application,
        listen: Address,
        tokens: Callable[[], Tokens],
        turned_away: Callable[[Caller, str], None],
        is_open: Callable[[str], bool],
        guesses: Guesses,
    ) -> None:
        self._application = application
        self._listen = listen
        self._tokens = tokens
        self._turned_away = turned_away
        self._is_open = is_open
        self._guesses = guesses
        self._cookie_name = cookie_name(listen)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        send = _for_browsers(send)
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if self._listen.is_loopback and not is_own_name(headers.get(b"host", b"")):
            refusal = RefusedError(
                "the Host header does not name this machine", "ask for 127.0.0.1 or localhost"
            )
            await _refuse(send, 421, refusal)
            return
        held = None
        try:
            caller, by_cookie = self._who(headers, scope)
        except HeldError as error:
            # What is open to everybody stays so.
            held, caller, by_cookie = error, Caller(None, True, _peer(scope)), False
        if not caller.has_token and self._is_foreign(headers.get(b"host", b"")):
            caller = Caller(None, False, caller.peer)
        scope[CALLER] = caller
        acts = scope["method"] not in ("GET", "HEAD", "OPTIONS")
        if acts and _is_smuggled(headers, by_cookie):
            self._turned_away(caller, scope["path"])
            await _refuse(send, 403, RefusedError("another site's page has asked for this"))
            return
        if not self._is_open(scope["path"]):
            if caller.role is None:
                if caller.has_token:
                    self._turned_away(caller, scope["path"])
                if held is not None:
                    await _refuse(send, 429, held, (b"retry-after", b"%d" % held.wait_s))
                    return
                await _refuse(send, 401, _who_is_it(caller), _WWW)
                return
            if acts and caller.role != "operator":
                self._turned_away(caller, scope["path"])
                await _refuse(send, 403, _may_not(caller))
                return
        if acts and not _is_json(headers):
            await _refuse(send, 415, RefusedError("a body is JSON", "Content-Type: application/json"), _CLOSE)
            return
        if int(headers.get(b"content-length", b"0")) > MOST_BODY_BYTES:
            await _refuse(send, 413, _too_much(), _CLOSE)
            return
        if not self._is_open(scope["path"]):
            send = self._while_he_may(send, headers, "operator" if acts else "reader")
        await self._bounded(scope, receive, send)

    def _who(self, headers: Headers, scope: MutableMapping[str, Any]) -> tuple[Caller, bool]:
        """And whether a cookie says so. HeldError."""
        tokens, authorization, peer = self._tokens(), _bearer(headers), _peer(scope)
        if authorization is None:
            role = self._role_by_cookie(headers, tokens, peer)
            if role is not None:
                return Caller(role, True, peer), True
            return Caller(role_of(None, tokens, self._listen), False, peer), False
        now_s = time.monotonic()
        self._guesses.check(peer, now_s)
        role = role_of(authorization, tokens, self._listen)
        if role is None:
            self._guesses.note(peer, authorization, now_s)
        return Caller(role, True, peer), False

    def _role_by_cookie(self, headers: Headers, tokens: Tokens, peer: str) -> Role | None:
        """One that is not looked at is none."""
        now_s = time.monotonic()
        for value in named(headers.get(b"cookie"), self._cookie_name):
            is_known = self._guesses.knows(value)
            with contextlib.suppress(HeldError):
                if not is_known:
                    self._guesses.check(peer, now_s)
                role = proven(value, self._cookie_name, tokens, time.time())
                if role is not None:
                    self._guesses.remember(value)
                    return role
                if not is_known:
                    self._guesses.note(peer, value, now_s)
        return None

    def _while_he_may(self, send: Send, headers: Headers, role: Role) -> Send:
        """Other tokens may be in force by the time that something more is said.

        To the application it is as if its client had gone.
        """
        tokens, is_over = self._tokens(), False

        async def send_on(message: Message) -> None:
            nonlocal tokens, is_over
            if is_over:
                return
            if message.get("more_body") and (now := self._tokens()) != tokens:
                tokens = now
                is_over = not self._may_still(headers, now, role)
            await send(_THE_END if is_over else message)

        return send_on

    def _may_still(self, headers: Headers, tokens: Tokens, role: Role) -> bool:
        """What was right once is no guess."""
        authorization = _bearer(headers)
        found = None
        if authorization is None:
            found = role_in(headers.get(b"cookie"), self._cookie_name, tokens, time.time())
        if found is None:
            found = role_of(authorization, tokens, self._listen)
        return Caller(found, True, "").may(role)

    def _is_foreign(self, host: bytes) -> bool:
        """Has a page of somebody else's come to our Unix socket, by a port that is forwarded to it?"""
        return self._listen.path is not None and host != b"" and not is_own_name(host)

    async def _bounded(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """A body that comes in pieces says its length nowhere."""
        seen_bytes = 0
        has_begun = False

        async def receive_some() -> Message:
            nonlocal seen_bytes
            message = await receive()
            seen_bytes += len(message.get("body", b""))
            if seen_bytes > MOST_BODY_BYTES:
                raise _TooMuchError
            return message

        async def send_on(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._application(scope, receive_some, send_on)
        except _TooMuchError:
            if not has_begun:
                await _refuse(send, 413, _too_much(), _CLOSE)


class _TooMuchError(BaseException):
    """No Exception: an application that catches those must not take it for a mistake in the JSON."""


def _for_browsers(send: Send) -> Send:
    async def send_on(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = message["headers"]
            kept = () if any(name.lower() == b"cache-control" for name, _ in given) else (_NOT_KEPT,)
            message = {**message, "headers": [*given, *kept, *_FOR_BROWSERS]}
        await send(message)

    return send_on


def _is_smuggled(headers: Headers, by_cookie: bool) -> bool:
    """Does it come from somebody else's page? With a token in its header it does not: only ours know that."""
    if _bearer(headers) is not None:
        return False
    site = site_of(headers)
    return site == "foreign" or (by_cookie and site == "unknown")


def _bearer(headers: Headers) -> bytes | None:
    """The Authorization header, if it is for us: of another scheme it is for a proxy on the way."""
    found = headers.get(b"authorization")
    return found if found is not None and found.partition(b" ")[0].lower() == b"bearer" else None


def _peer(scope: MutableMapping[str, Any]) -> str:
    client = scope.get("client")
    if client is None:
        return "unix"
    host, port = client
    return str(Address(host, port)) if port else str(host)


def _is_json(headers: dict[bytes, bytes]) -> bool:
    """Or is there no body?"""
    if b"transfer-encoding" not in headers and int(headers.get(b"content-length", b"0")) == 0:
        return True
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower() == b"application/json"


def _who_is_it(caller: Caller) -> RefusedError:
    if caller.has_token:
        return RefusedError(
            "this token is none of ours", "Authorization: Bearer TOKEN, with admin_read_token's or operator's"
        )
    return RefusedError("this takes a token", "Authorization: Bearer TOKEN")


def _may_not(caller: Caller) -> RefusedError:
    if caller.has_token:
        return RefusedError("with this token one may look, not act", "use admin_operator_token's")
    return RefusedError(
        "to act takes the operator's token",
        "set admin_operator_token, and send it: Authorization: Bearer TOKEN",
    )


def _too_much() -> RefusedError:
    return RefusedError(f"a body has at most {MOST_BODY_BYTES} bytes")


async def _refuse(send: Send, status: int, refusal: RefusedError, *headers: tuple[bytes, bytes]) -> None:
    body = json.dumps(refusal.as_json()).encode()
    start = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})
