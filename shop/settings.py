"""The shop's settings: those of the package, and what is the shop's own."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from severable import topology
from severable.config import rate_limits
from severable.config.environment import env, required
from severable.settings import *  # noqa: F403
from severable.settings import (
    DEPLOYMENT,
    DEVELOPMENT,
    INSTALLED_APPS,
    ISSUES_TOKENS,
    PLACEMENT,
    RATE_LIMITS,
    SPECTACULAR_SETTINGS,
    TOPOLOGY,
    UNFOLD,
    VAR,
)
from shop import mail

INSTALLED_APPS = [
    "shop",  # first: its templates replace the libraries'
    *INSTALLED_APPS,
    *(["tools"] if DEVELOPMENT and find_spec("tools") else []),  # the image does not contain it
]
ROOT_URLCONF = "shop.urls"
TEST_RUNNER = "tests.runner.PytestRunner"

# Users

AUTH_USER_MODEL = "users.User" if ISSUES_TOKENS else "auth.User"
PASSWORD_HASHERS = (
    ["django.contrib.auth.hashers.MD5PasswordHasher"]
    if "pytest" in sys.modules
    else ["apps.users.hashers.LightArgon2", "django.contrib.auth.hashers.PBKDF2PasswordHasher"]
)
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator",
        "OPTIONS": {"user_attributes": ["username", "name", "email"]},
    },
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "/api/login/"
LOGIN_REDIRECT_URL = "/api/orders"
RATE_LIMITS |= rate_limits.rate_limits({"orders": 60, "sign-ups": 10})
_gateway = TOPOLOGY.where(PLACEMENT, topology.ENTRY).http[0]
PUBLIC_URL = (
    required("PUBLIC_URL", f"http://{_gateway}", "the public URL, such as https://shop.example.com")
    if ISSUES_TOKENS
    else ""
).rstrip("/")

# Payments and mail

PAYMENT_PROVIDER = (
    required(
        "PAYMENT_PROVIDER",
        "apps.payments.providers.TestProvider",
        "the class that charges cards, an apps.payments.providers.Provider",
    )
    if "payments" in DEPLOYMENT.contexts
    else ""
)
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", "shop@localhost")
MAIL_DIR = VAR / "mail"
EMAIL_BACKEND = "shop.mail.FileBackend"
if "notifications" in DEPLOYMENT.contexts:
    vars().update(mail.server())
# Seconds for each of the six or seven reads of the SMTP conversation. A mail whose attempt is given
# up may have been sent, and is sent again; so this is long, and the mail's lease is renewed.
EMAIL_TIMEOUT = 60

# Titles

SPECTACULAR_SETTINGS |= {
    "TITLE": "The shop",
    "DESCRIPTION": "Users, products, orders, payments and notifications. Errors are "
    "`application/problem+json`; amounts are integers in minor units (cents).",
}
UNFOLD |= {"SITE_TITLE": "The shop", "SITE_HEADER": "The shop", "SITE_SYMBOL": "storefront"}
