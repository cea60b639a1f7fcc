"""The client address of a request. What the client itself claims is ignored."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network, ip_address

from django.conf import settings
from django.http import HttpRequest

from severable.rpc import identity

# The shop's gateway sends its service token in it, so that its X-Forwarded-For is trusted.
GATEWAY = "X-Internal-Gateway"


def client_address(request: HttpRequest) -> str:
    """Return the client's address as the trusted proxies in front of this process saw it.

    These are the shop's gateway, or TRUSTED_PROXIES other proxies, each of which has appended the
    address of its client to X-Forwarded-For.
    """
    forwarded = str(request.META.get("HTTP_X_FORWARDED_FOR", "")).split(",")
    hops = [*(part.strip() for part in forwarded if part.strip()), str(request.META["REMOTE_ADDR"])]
    trusted = 1 if _is_from_gateway(request) else settings.TRUSTED_PROXIES
    return hops[-min(trusted + 1, len(hops))]


def is_proxied(request: HttpRequest) -> bool:
    """Return whether the request came through the shop's gateway or a trusted proxy."""
    return settings.TRUSTED_PROXIES > 0 or _is_from_gateway(request)


def network_of(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or the /64 from which an IPv6 client can
    choose its address."""
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
