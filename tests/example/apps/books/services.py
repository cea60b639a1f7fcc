"""Commands of books."""

from django.db import transaction
from protos.book_pb2 import BookLent
from protos.reader_pb2 import GetReaderRequest
from protos.reader_pb2_grpc import ReaderServiceStub

from apps.books.models import Loan
from severable.events import append
from severable.rpc import stub


def lend(*, title: str, reader_id: int) -> Loan:
    """Lend a book. Raises grpc.RpcError, NOT_FOUND if there is no such reader."""
    reader = stub(ReaderServiceStub).GetReader(GetReaderRequest(reader_id=reader_id))
    with transaction.atomic():
        loan = Loan.objects.create(title=title, reader_id=reader.id, reader_name=reader.name)
        append(BookLent(title=title, reader_id=reader.id), stream=f"loan-{loan.pk}")
    return loan
