"""Who has logged in: in a cookie that scripts cannot read and that no other site's pages can use.

    log in: token ─▶ right? ─▶ Set-Cookie: role.end.nonce.HMAC(token, these) (HttpOnly, SameSite=Strict)
    every request: Cookie ─▶ proven by the token of that role, and not over? ─▶ role

- The token is not in it, and nothing is remembered here: a cookie holds until its end or a change of
  the token.
- A cookie that is wrong by now counts as none.
- Browsers send a cookie by themselves, so who acts by one has to come from a page of ours: `site_of`.
- Cookies know hosts and no ports: the name has the port, so that of two proxies on a machine neither logs the
  other one out.
"""

import hmac
import re
import secrets
from collections.abc import Iterator, Mapping
from typing import Final, Literal

from memagent.addresses import Address
from memagent.admin.auth import Role, Tokens

Headers = Mapping[bytes, bytes]
Site = Literal["own", "foreign", "unknown"]

LONGEST_S: Final = 12 * 3600
_SAID: Final = re.compile(rb"(?P<role>reader|operator)\.(?P<end_s>[0-9]{1,12})\.[0-9a-f]{16}")
_RULES: Final = "Path=/; HttpOnly; SameSite=Strict"


def cookie_name(listen: Address) -> str:
    return "memagent" if listen.path is not None else f"memagent-{listen.port}"


def role_in(cookies: bytes | None, name: str, tokens: Tokens, now_s: float) -> Role | None:
    """What the Cookie header proves under this name."""
    roles = (proven(value, name, tokens, now_s) for value in named(cookies, name))
    return next((role for role in roles if role is not None), None)


def named(cookies: bytes | None, name: str) -> Iterator[bytes]:
    """What the Cookie header has under this name, which may be there several times."""
    for each in (cookies or b"").split(b";"):
        found, _, value = each.strip().partition(b"=")
        if found == name.encode():
            yield value


def keep(name: str, token: bytes, role: Role, now_s: float, is_tls: bool) -> str:
    """The Set-Cookie header. It ends with the browser's session, and after LONGEST_S."""
    said = f"{role}.{int(now_s + LONGEST_S)}.{secrets.token_hex(8)}"
    proof = _proof(token, name, said.encode())
    return f"{name}={said}.{proof.decode()}; {_RULES}{'; Secure' if is_tls else ''}"


def proven(value: bytes, name: str, tokens: Tokens, now_s: float) -> Role | None:
    said, _, proof = value.rpartition(b".")
    found = _SAID.fullmatch(said)
    if found is None or int(found["end_s"]) <= now_s:
        return None
    role: Role = "operator" if found["role"] == b"operator" else "reader"
    token = tokens.operator if role == "operator" else tokens.read
    return role if token is not None and hmac.compare_digest(proof, _proof(token, name, said)) else None


def _proof(token: bytes, name: str, said: bytes) -> bytes:
    return hmac.new(token, name.encode() + b"=" + said, "sha256").hexdigest().encode()


def forget(name: str) -> str:
    return f"{name}=; {_RULES}; Max-Age=0"


def site_of(headers: Headers) -> Site:
    """Whose page has sent this? Browsers say it; "unknown" is what is no browser, or a very old one."""
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return "own" if site == b"same-origin" else "foreign"
    origin = headers.get(b"origin")
    if origin is None:
        return "unknown"
    return "own" if origin.partition(b"://")[2] == headers.get(b"host") else "foreign"


def is_tls(headers: Headers) -> bool:
    """As the browser sees it: TLS ends before us."""
    return headers.get(b"origin", b"").startswith(b"https://")
