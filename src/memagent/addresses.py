"""Addresses as people write them <-> host, port and path.

    10.0.0.1    cache.example:11211    [2001:db8::1]:11211    unix:/run/memcached.sock

A ValueError says what is wrong and how to write it. Names are not resolved here.
"""

import ipaddress
import re
from typing import Any, NamedTuple

from memagent.units import quoted

DEFAULT_PORT = 11211
_UNIX = "unix:"
_MOST_UNIX_PATH_BYTES = 107  # sun_path less its terminating zero
_HOST_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)", re.ASCII)


class Address(NamedTuple):
    """Where a socket is: host and port, or the path of a Unix socket (then host is the path and port 0)."""

    host: str
    port: int
    path: str | None = None

    @classmethod
    def of_name(cls, name: Any) -> "Address":
        """What a socket's getsockname() says."""
        if isinstance(name, tuple):
            return cls(str(name[0]), int(name[1]))
        return cls(str(name), 0, str(name))

    @property
    def is_loopback(self) -> bool:
        """Is it reached from this machine only? A Unix socket is none."""
        if self.path is not None:
            return False
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower().removesuffix(".") == "localhost"

    def __str__(self) -> str:
        if self.path is not None:
            return _UNIX + self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """`host`, `host:port`, `[v6]`, `[v6]:port` or `unix:/path`; ValueError says what is wrong."""
    if not text:
        raise ValueError("empty address: write host:port, [v6]:port or unix:/path")
    if text.startswith(_UNIX):
        path = text.removeprefix(_UNIX)
        _check_unix_path(path)
        return Address(path, 0, path)
    if "://" in text:
        raise ValueError("an address has no scheme: write host:port")
    if text.startswith("/"):
        raise ValueError(f"a Unix socket is written {quoted(_UNIX + text)}")
    if text.startswith("["):
        return _parse_v6(text)
    if text.count(":") > 1:
        return _reject_colons(text)
    host, colon, port = text.partition(":")
    _check_host(host)
    return Address(host, parse_port(port) if colon else DEFAULT_PORT)


def parse_listen(text: str) -> Address:
    """As parse_address, but the port must be there, and a port alone means every IPv4 address."""
    if text.isascii() and text.isdigit():
        return Address("0.0.0.0", parse_port(text))  # noqa: S104 - a port alone asks for it
    if text.startswith("*:"):
        raise ValueError('every address is written "0.0.0.0:PORT" (IPv4) or "[::]:PORT" (IPv6)')
    address = parse_address(text)
    if address.path is None and ("]:" not in text if text.startswith("[") else ":" not in text):
        raise ValueError("the port is missing: write host:port, [v6]:port, unix:/path or a port")
    return address


def parse_port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535):
        raise ValueError("port must be 1-65535")
    return int(text)


def parse_host(text: str) -> str:
    """A host alone, as in magent's -l: IPv6 needs no brackets where no port can follow."""
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    if ":" in text:
        _check_v6(text)
    else:
        _check_host(text)
    return text


def _parse_v6(text: str) -> Address:
    host, bracket, rest = text[1:].partition("]")
    if not bracket or (rest and not rest.startswith(":")):
        raise ValueError("an IPv6 address is written [address]:port")
    _check_v6(host)
    return Address(host, parse_port(rest[1:]) if rest else DEFAULT_PORT)


def _reject_colons(text: str) -> Address:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        host, _, rest = text.partition(":")
        if with_weight := re.fullmatch(r"([0-9]+):([0-9]+)(?: (\S+))?", rest):
            port, weight, name = with_weight.groups()
            parts = f"address: {quoted(f'{host}:{port}')}, weight: {weight}" + (
                f", name: {quoted(name)}" if name else ""
            )
            raise ValueError(f"a weight is not part of an address: write {{{parts}}}") from None
        raise ValueError(f"too many colons: write {quoted(host + ':PORT')}, or [v6]:port") from None
    raise ValueError(f"an IPv6 address needs brackets: write {quoted(f'[{text}]:{DEFAULT_PORT}')}")


def _check_v6(host: str) -> None:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        raise ValueError(f"{quoted(host)} is not an IPv6 address") from None


def _check_host(host: str) -> None:
    if not host:
        raise ValueError("the host is missing: write host:port")
    labels = host.removesuffix(".").split(".")
    if labels[-1].isdigit():
        # a name whose last label is a number can only be meant as an IPv4 address
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            raise ValueError(f"{quoted(host)} is not an IPv4 address") from None
    elif len(host) > 253 or not all(_HOST_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{quoted(host)} is not a host name")


def _check_unix_path(path: str) -> None:
    if not path.startswith("/"):
        raise ValueError("the path of a Unix socket must be absolute: unix:/path")
    if not path.isprintable():
        raise ValueError("the path of a Unix socket must have no control character")
    if path.endswith("/"):
        raise ValueError("the path of a Unix socket must name a file")
    if len(path.encode()) > _MOST_UNIX_PATH_BYTES:
        raise ValueError(f"the path of a Unix socket is at most {_MOST_UNIX_PATH_BYTES} bytes long")
