"""The addresses of users."""

from django.urls import path

from apps.users import api, pages

urlpatterns = [
    path("api/auth/token", api.SignIn.as_view()),
    path("api/auth/token/refresh", api.Refresh.as_view()),
    path("api/auth/logout", api.SignOut.as_view()),
    path(".well-known/jwks.json", api.PublicKeys.as_view()),
    path("api/users", api.Users.as_view()),
    path("api/users/me", api.Me.as_view()),
    path("api/users/me/email-confirmation", api.EmailConfirmationRequest.as_view()),
    path("api/users/confirm-email", api.EmailConfirmation.as_view()),
    path("api/users/confirm-email/page", pages.ConfirmEmail.as_view(), name="confirm-email"),
    path("api/users/<int:user_id>", api.OneUser.as_view()),
    path("api/users/<int:user_id>/preferences", api.UserPreferences.as_view()),
    path("api/users/<int:user_id>/credit", api.Credit.as_view()),
]
