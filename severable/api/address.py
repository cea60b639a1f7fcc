"""Where a request comes from. What a client says of that itself counts for nothing."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network, ip_address

from django.conf import settings
from django.http import HttpRequest

from severable.rpc import identity

# With this, the shop's gateway proves that the X-Forwarded-For beside it is its own.
GATEWAY = "X-Internal-Gateway"


def client_address(request: HttpRequest) -> str:
    """The client's address, as whoever stands in front of us saw it.

    That is the shop's gateway, or TRUSTED_PROXIES proxies of others, each of which has added to
    the end of X-Forwarded-For whom it was asked by.
    """
    said = str(request.META.get("HTTP_X_FORWARDED_FOR", "")).split(",")
    hops = [*(part.strip() for part in said if part.strip()), str(request.META["REMOTE_ADDR"])]
    trusted = 1 if _is_from_gateway(request) else settings.TRUSTED_PROXIES
    return hops[-min(trusted + 1, len(hops))]


def is_proxied(request: HttpRequest) -> bool:
    """Whether the shop's gateway, or a proxy that is trusted, stands in front of us."""
    return settings.TRUSTED_PROXIES > 0 or _is_from_gateway(request)


def network_of(address: str) -> str:
    """What is counted as one client: an IPv4 address, or the /64 that an IPv6 client can choose
    its address from."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address[:45]
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or IPv6Network((parsed, 64), strict=False))
    return str(parsed)


def _is_from_gateway(request: HttpRequest) -> bool:
    try:
        identity.verified({"authorization": f"Bearer {request.headers.get(GATEWAY, '')}"})
    except identity.InvalidServiceToken:
        return False
    return True
