"""The contract of users, served."""

from typing import Any

from apps.users import confirmations, profiles, queries, services
from apps.users.models import User
from protos import user_pb2 as pb
from protos.user_pb2_grpc import UserServiceServicer, add_UserServiceServicer_to_server
from severable.errors import Invalid
from severable.rpc import serve


@serve(add_UserServiceServicer_to_server)
class UserServicer(UserServiceServicer):
    def GetUser(self, request: pb.GetUserRequest, context: Any) -> pb.UserResponse:
        return _response(queries.user(request.user_id))

    def CreateUser(self, request: pb.CreateUserRequest, context: Any) -> pb.UserResponse:
        given = {field: getattr(request, field) for field in _PROFILE}
        return _response(services.create_customer(**profiles.checked(given)))

    def UpdateUser(self, request: pb.UpdateUserRequest, context: Any) -> pb.UserResponse:
        given = {f: getattr(request, f) for f in _PROFILE if request.HasField(f)}  # type: ignore[arg-type]
        changes = profiles.checked(given, partial=True)
        return _response(services.update_profile(user_id=request.user_id, **changes))

    def GetPreferences(self, request: pb.GetPreferencesRequest, context: Any) -> pb.Preferences:
        found = queries.preferences(request.user_id)
        return pb.Preferences(
            user_id=found.user_id,
            order_mails=found.order_mails,
            account_mails=found.account_mails,
        )

    def CreateEmailConfirmation(
        self, request: pb.CreateEmailConfirmationRequest, context: Any
    ) -> pb.EmailConfirmation:
        user = queries.user(request.user_id)
        if user.email_confirmed:
            return pb.EmailConfirmation()
        return pb.EmailConfirmation(email=user.email, url=confirmations.url(user))

    def DebitCredit(self, request: pb.DebitCreditRequest, context: Any) -> pb.CreditResponse:
        if request.amount < 0:
            raise Invalid("The amount is negative.", field="amount")
        user = services.debit_credit(
            payment_id=request.payment_id, user_id=request.user_id, amount=request.amount
        )
        return pb.CreditResponse(user_id=user.id, balance=user.credit)

    def ReturnCredit(self, request: pb.ReturnCreditRequest, context: Any) -> pb.CreditResponse:
        user = services.return_credit(payment_id=request.payment_id, user_id=request.user_id)
        return pb.CreditResponse(user_id=user.id, balance=user.credit)


_PROFILE = ("name", "email", "address")


def _response(user: User) -> pb.UserResponse:
    return pb.UserResponse(
        id=user.id,
        name=user.name,
        email=user.email,
        address=user.address,
        active=user.is_active,
        email_confirmed=user.email_confirmed,
    )
