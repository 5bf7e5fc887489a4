"""Who may do what over HTTP. Decides; reads no socket.

                       no token in the request                          a right one     a wrong one
    Unix socket        all that no token is set for: its file is 0600   its role        nothing
    loopback address   looking, unless admin_read_token is set          its role        nothing
    any other          nothing                                          its role        nothing

Roles: a reader looks, an operator looks and acts. On TCP nobody acts without a token, on loopback neither:
every user of the machine reaches a port there, and so does every page in a browser.
"""

import hmac
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal

from memagent.addresses import Address

Role = Literal["reader", "operator"]


@dataclass(frozen=True, slots=True)
class Tokens:
    """None: it is not set."""

    read: bytes | None = None
    operator: bytes | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `peer`: host:port, or who that is at a Unix socket."""

    role: Role | None
    has_token: bool
    peer: str

    @property
    def who(self) -> str:
        return f"{self.role or 'nobody'} {'with' if self.has_token else 'without'} a token"

    def may(self, role: Role) -> bool:
        return self.role == "operator" or self.role == role


def role_of(authorization: bytes | None, tokens: Tokens, listen: Address) -> Role | None:
    """By the Authorization header; None: nobody."""
    if authorization is not None:
        scheme, _, given = authorization.partition(b" ")
        return role_by_token(given.strip(), tokens) if scheme.lower() == b"bearer" else None
    if listen.path is not None and tokens.operator is None:
        return "operator"
    is_here = listen.path is not None or listen.is_loopback
    return "reader" if is_here and tokens.read is None else None


def role_by_token(given: bytes, tokens: Tokens) -> Role | None:
    """None: it is none of ours."""
    # Both are compared, whatever the first has said: the time taken tells nothing.
    is_operator = hmac.compare_digest(given, tokens.operator or b"") and tokens.operator is not None
    is_reader = hmac.compare_digest(given, tokens.read or b"") and tokens.read is not None
    return "operator" if is_operator else "reader" if is_reader else None


def is_own_name(host: bytes) -> bool:
    """Does this Host header name this machine's loopback?

    A page of somebody else's can make its own name lead to 127.0.0.1 and then read what we answer to it.
    """
    text = host.decode("latin-1").lower()
    name, bracket, _ = text.rpartition("]")
    name = name.removeprefix("[") if bracket else text.partition(":")[0]
    try:
        return name.removesuffix(".") == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False
