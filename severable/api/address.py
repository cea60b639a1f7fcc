"""The client address of a request. Headers that the client itself sets are ignored."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network, ip_address

from django.conf import settings
from django.http import HttpRequest

from severable.rpc import identity

# The shop's gateway sends its service token in it, so that its X-Forwarded-For is trusted.
GATEWAY = "X-Internal-Gateway"


def client_address(request: HttpRequest) -> str:
    """Return the client's address as the trusted proxies in front of this process saw it."""
    peer, forwarded = request.META["REMOTE_ADDR"], request.META.get("HTTP_X_FORWARDED_FOR", "")
    return forwarded_address(str(peer), str(forwarded), request.headers.get(GATEWAY, ""))


def forwarded_address(peer: str, forwarded_for: str, proof: str) -> str:
    """Return the client's address, given the address of the connection's other end, the value of
    X-Forwarded-For and that of GATEWAY.

    The trusted proxies are the shop's gateway, or TRUSTED_PROXIES other proxies, each of which has
    appended the address of its client to X-Forwarded-For.
    """
    hops = [*(part.strip() for part in forwarded_for.split(",") if part.strip()), peer]
    trusted = 1 if _is_gateway(proof) else settings.TRUSTED_PROXIES
    return hops[-min(trusted + 1, len(hops))]


def is_proxied(proof: str) -> bool:
    """Return whether a request with this value of GATEWAY came through a trusted proxy."""
    return settings.TRUSTED_PROXIES > 0 or _is_gateway(proof)


def network_of(address: str) -> str:
    """Return the network that counts as one client: an IPv4 address, or the /64 from which an IPv6
    client can choose its address."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address[:45]
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or IPv6Network((parsed, 64), strict=False))
    return str(parsed)


def _is_gateway(proof: str) -> bool:
    if not proof:
        return False
    try:
        identity.verified({"authorization": f"Bearer {proof}"})
    except identity.InvalidServiceToken:
        return False
    return True
