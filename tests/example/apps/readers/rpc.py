"""The servicer of the contract of readers."""

from typing import Any

from protos.reader_pb2_grpc import ReaderServiceServicer, add_ReaderServiceServicer_to_server

from apps.readers.models import Reader
from protos import reader_pb2 as pb
from severable.errors import NotFound
from severable.rpc import serve


@serve(add_ReaderServiceServicer_to_server)
class ReaderServicer(ReaderServiceServicer):
    def GetReader(self, request: pb.GetReaderRequest, context: Any) -> pb.Reader:
        reader = Reader.objects.filter(pk=request.reader_id).first()
        if reader is None:
            raise NotFound("There is no such reader.")
        return pb.Reader(id=reader.pk, name=reader.get_full_name())
