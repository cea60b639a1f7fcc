"""A servicer that answers at once: what is measured is the way there and back."""

from __future__ import annotations

from typing import Any

from protos import user_pb2 as pb
from protos.user_pb2_grpc import UserServiceServicer

ANSWER = pb.UserResponse(id=7, name="Alice", email="alice@example.com", active=True)


class Users(UserServiceServicer):
    def GetUser(self, request: Any, context: Any) -> Any:
        return ANSWER
