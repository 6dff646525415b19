"""Where a webhook may go: never into the network that this server stands in, unless a setting allows it.

A name is looked up once for each try, and the connection goes to just the addresses that were checked: what the name
leads to a moment later is of no importance. Proxies of the environment are not used, since they would look it up again.
"""

import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from django.conf import settings


Address = IPv4Address | IPv6Address
#: A host and a port to addresses, as text; OSError if there are none.
Resolver = Callable[[str, int], list[str]]

LONGEST_URL = 500
# What IANA has given out for unicast. https://www.iana.org/assignments/ipv6-address-space
_GIVEN_OUT = IPv6Network("2000::/3")
# How networks with IPv6 alone write an IPv4 address. https://www.rfc-editor.org/rfc/rfc6052#section-2.1
_NAT64 = IPv6Network("64:ff9b::/96")
# What Python calls global, by its version, and what leads to no host of anybody's: protocols' own, and 6to4's relays.
_PROTOCOLS = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"))
_UNUSABLE = re.compile(r"[^\x21-\x7e]|[\\^`{|}<>\"]")


class Refused(Exception):
    """A webhook must not go there; the message says why."""


@dataclass(frozen=True)
class Destination:
    scheme: str
    host: str
    port: int
    #: Path and query, as a request line has them.
    target: str

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"


def parse(url: str) -> Destination:
    """Reads a receiver's URL; Refused if it is none that we would send to, whatever its host leads to."""
    if len(url) > LONGEST_URL:
        raise Refused(f"The URL is longer than {LONGEST_URL} characters.")
    if found := _UNUSABLE.search(url):
        raise Refused(f"The URL has {found[0]!r} in it: percent-encode it, and write a foreign host as xn--….")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise Refused(f"This is no URL: {error}.") from error
    _check_scheme(parts.scheme)
    if not host:
        raise Refused("The URL has no host.")
    if "@" in parts.netloc:
        raise Refused("The URL has a user or a password in it: webhooks are signed instead.")
    if parts.fragment:
        raise Refused("The URL has a # in it: what follows that is never sent.")
    if port == 0:
        raise Refused("There is no port 0.")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    destination = Destination(parts.scheme, host, port or (443 if parts.scheme == "https" else 80), target)
    if (literal := _literal(host)) and not settings.WEBHOOKS_MAY_BE_PRIVATE:
        _check_public(host, [literal])
    return destination


def _check_scheme(scheme: str) -> None:
    if scheme == "https" or (scheme == "http" and settings.WEBHOOKS_MAY_BE_PRIVATE):
        return
    if scheme == "http":
        raise Refused("The URL has to begin with https://; http is for private networks (WEBHOOKS_MAY_BE_PRIVATE).")
    raise Refused("The URL has to begin with https://.")


def look_up(host: str, port: int) -> list[str]:
    """By the system's resolver, which has its own patience."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


def addresses(destination: Destination, resolver: Resolver = look_up) -> list[str]:
    """Those that its host has now, each of which may be connected to. OSError if the name leads nowhere; else Refused.

    One private address among others is enough for a refusal: whose name it is may choose which of them answers.
    """
    found = resolver(destination.host, destination.port)
    if not settings.WEBHOOKS_MAY_BE_PRIVATE:
        _check_public(destination.host, [ip_address(text) for text in found])
    return found


def _check_public(host: str, found: list[Address]) -> None:
    for address in found:
        if not is_public(address):
            what = "is" if str(address) == host else f"leads to {address}, which is"
            raise Refused(f"{host} {what} no public address: webhooks go there only with WEBHOOKS_MAY_BE_PRIVATE.")


def is_public(address: Address) -> bool:
    """Whether anybody on the internet could be there. What is embedded in an address counts as the address itself."""
    if isinstance(address, IPv4Address):
        special = address.is_multicast or address.is_reserved or any(address in network for network in _PROTOCOLS)
        return address.is_global and not special
    if address.ipv4_mapped:
        return is_public(address.ipv4_mapped)
    if address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    # 6to4 and Teredo lead to an IPv4 address over relays that nobody runs any more.
    return address in _GIVEN_OUT and address.is_global and not (address.sixtofour or address.teredo)


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
