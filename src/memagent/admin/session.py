"""A browser's token: in a cookie that scripts cannot read and that no other site's pages can use.

    log in: token ─▶ right? ─▶ Set-Cookie (HttpOnly, SameSite=Strict)
    every request: Cookie ─▶ token ─▶ role, as if it stood in the header

- A cookie that is wrong by now (the token has changed) counts as none.
- Browsers send a cookie by themselves, so who acts by one has to come from a page of ours: `site_of`.
- Cookies know hosts and no ports: the name has the port, so that of two proxies on a machine neither logs the
  other one out.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Final, Literal

from memagent.addresses import Address

Headers = Mapping[bytes, bytes]
Site = Literal["own", "foreign", "unknown"]

_RULES: Final = "Path=/; HttpOnly; SameSite=Strict"


def cookie_name(listen: Address) -> str:
    return "memagent" if listen.path is not None else f"memagent-{listen.port}"


def token_in(cookies: bytes | None, name: str) -> bytes | None:
    """What the Cookie header has under this name."""
    for each in (cookies or b"").split(b";"):
        found, _, value = each.strip().partition(b"=")
        if found == name.encode():
            try:
                return base64.b64decode(value, altchars=b"-_", validate=True)
            except binascii.Error:
                return None
    return None


def keep(name: str, token: bytes, is_tls: bool) -> str:
    """The Set-Cookie header. It ends with the browser's session."""
    value = base64.urlsafe_b64encode(token).decode()
    return f"{name}={value}; {_RULES}{'; Secure' if is_tls else ''}"


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
