"""The servicer of the contract of inventory."""

from typing import Any

from apps.inventory import queries, services
from protos import inventory_pb2 as pb
from protos.inventory_pb2_grpc import (
    InventoryServiceServicer,
    add_InventoryServiceServicer_to_server,
)
from severable.errors import Invalid, uuid_of
from severable.rpc import serve


@serve(add_InventoryServiceServicer_to_server)
class InventoryServicer(InventoryServiceServicer):
    def GetProducts(self, request: pb.GetProductsRequest, context: Any) -> pb.GetProductsResponse:
        found = queries.products(request.skus)
        return pb.GetProductsResponse(
            products=[
                pb.Product(
                    sku=product.sku,
                    name=product.name,
                    unit_price=product.unit_price,
                    currency=product.currency,
                    available=product.available,
                )
                for product in found
            ]
        )

    def Reserve(self, request: pb.ReserveRequest, context: Any) -> pb.ReserveResponse:
        if not request.lines or any(line.quantity < 1 for line in request.lines):
            raise Invalid("A reservation needs lines, each of at least 1.", field="lines")
        if len({line.sku for line in request.lines}) < len(request.lines):
            raise Invalid("A reservation has one line for a product.", field="lines")
        reservation = services.reserve(
            order_id=uuid_of(request.order_id, "order_id"),
            wanted=[(line.sku, line.quantity) for line in request.lines],
        )
        return pb.ReserveResponse(
            lines=services.priced(reservation),
            total=reservation.total,
            currency=reservation.currency,
        )

    def Release(self, request: pb.ReleaseRequest, context: Any) -> pb.ReleaseResponse:
        services.release(order_id=uuid_of(request.order_id, "order_id"))
        return pb.ReleaseResponse()
