"""The shared parts of public REST APIs: callers, errors, limits, idempotency, pagination."""

from __future__ import annotations

from typing import TYPE_CHECKING

from severable.doors import door

if TYPE_CHECKING:
    from severable.api import key_ring as key_ring
    from severable.api import limits as limits
    from severable.api.address import GATEWAY as GATEWAY
    from severable.api.address import forwarded_address as forwarded_address
    from severable.api.address import is_proxied as is_proxied
    from severable.api.auth import AccessToken as AccessToken
    from severable.api.auth import caller_id as caller_id
    from severable.api.auth import may as may
    from severable.api.auth import permitted as permitted
    from severable.api.auth import ring as ring
    from severable.api.errors import PROBLEM as PROBLEM
    from severable.api.errors import RETRY_AFTER as RETRY_AFTER
    from severable.api.errors import domain_error_problem as domain_error_problem
    from severable.api.filters import Amount as Amount
    from severable.api.filters import Ordering as Ordering
    from severable.api.filters import Search as Search
    from severable.api.idempotency import Idempotent as Idempotent
    from severable.api.pagination import NewestFirst as NewestFirst
    from severable.api.schema import ProblemSerializer as ProblemSerializer
    from severable.api.throttling import CheckLimit as CheckLimit
    from severable.api.throttling import RateLimit as RateLimit
    from severable.api.throttling import ReadLimit as ReadLimit
    from severable.api.validation import validated as validated
else:
    __getattr__ = door(
        __name__,
        {
            "AccessToken": "auth",
            "Amount": "filters",
            "CheckLimit": "throttling",
            "GATEWAY": "address",
            "Idempotent": "idempotency",
            "NewestFirst": "pagination",
            "RateLimit": "throttling",
            "Ordering": "filters",
            "PROBLEM": "errors",
            "ProblemSerializer": "schema",
            "RETRY_AFTER": "errors",
            "ReadLimit": "throttling",
            "Search": "filters",
            "caller_id": "auth",
            "forwarded_address": "address",
            "is_proxied": "address",
            "key_ring": "key_ring",
            "limits": "limits",
            "may": "auth",
            "permitted": "auth",
            "domain_error_problem": "errors",
            "ring": "auth",
            "validated": "validation",
        },
    )

__all__ = [
    "GATEWAY",
    "PROBLEM",
    "RETRY_AFTER",
    "AccessToken",
    "Amount",
    "CheckLimit",
    "Idempotent",
    "NewestFirst",
    "Ordering",
    "ProblemSerializer",
    "RateLimit",
    "ReadLimit",
    "Search",
    "caller_id",
    "domain_error_problem",
    "forwarded_address",
    "is_proxied",
    "key_ring",
    "limits",
    "may",
    "permitted",
    "ring",
    "validated",
]
