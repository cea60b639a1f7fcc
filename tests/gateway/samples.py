"""What the generic tests need to know of the gateway."""

from __future__ import annotations

from tests.samples import OWNER_AND_STAFF, Route

ROUTES = {
    ("GET", "/api/orders/<uuid:order_id>/summary"): Route(
        OWNER_AND_STAFF, granted={"admin:orders": 200}
    )
}
