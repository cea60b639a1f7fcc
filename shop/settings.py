"""The Django project's settings; .env.example says which of them the environment sets."""

from __future__ import annotations

import sys
from datetime import timedelta
from importlib.util import find_spec

from django.core.exceptions import ImproperlyConfigured

from severable import topology
from severable.config import broker, database, development, jwk, rate_limits, tls
from severable.config.environment import (
    BASE_DIR,
    DEVELOPMENT,
    VAR,
    env,
    refuse_missing,
    required,
    secret,
)
from severable.telemetry import logs

TESTING = "pytest" in sys.modules

# What runs here

TOPOLOGY = topology.load(topology.path())
if env.bool("SHOP_MESH", False):
    TOPOLOGY = TOPOLOGY.in_mesh()  # a call is retried in one place only
PLACEMENT = env.str("SHOP_PLACEMENT", "one")
CHANNEL = env.str("CHANNEL", "grpc")  # how contexts of other deployments are called
if CHANNEL not in ("grpc", "rest"):
    raise ImproperlyConfigured(f"CHANNEL is {CHANNEL!r}; there is: grpc, rest")
if TOPOLOGY.faults and not DEVELOPMENT:
    raise ImproperlyConfigured("topology.toml: [faults] are for development only")
DEPLOYMENT = TOPOLOGY.deployment(PLACEMENT, env.str("SHOP_DEPLOYMENT", None))
GRPC_LISTEN = env.str("GRPC_LISTEN", DEPLOYMENT.grpc[0])  # where this web process serves gRPC
# How long a web process that was told to end goes on serving, while its callers turn to others.
DRAIN_SECONDS = env.float("DRAIN_SECONDS", 1.0 if len(DEPLOYMENT.http) > 1 else 0.0)
TLS = tls.certificates(env.ENVIRON)  # between deployments; None: they speak in plain text

SECRET_KEY = secret("SECRET_KEY", development.random_secret)
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
DEBUG = False
ALLOWED_HOSTS = [host.strip() for host in required("ALLOWED_HOSTS", "*").split(",")]
# Other deployments call this one by its own address.
ALLOWED_HOSTS += sorted({address.rpartition(":")[0] for address in DEPLOYMENT.http})
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

INSTALLED_APPS = [
    "shop",  # first: its templates take the place of the libraries'
    "severable",
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "severable.telemetry",
    "severable.jobs",
    "severable.rpc",
    "severable.events",
    "severable.saga",
    "severable.caching",
    "severable.api",
    "severable.admin",
    *(["tools"] if DEVELOPMENT and find_spec("tools") else []),  # the image has none
    *(f"apps.{context}" for context in DEPLOYMENT.contexts),
]

MIDDLEWARE = [
    "severable.api.csp.ContentSecurityPolicy",
    "severable.telemetry.middleware.RequestId",
    "severable.telemetry.middleware.Probes",
    "severable.api.internal.InternalMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

ROOT_URLCONF = "shop.urls"
WSGI_APPLICATION = "shop.wsgi.application"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TEST_RUNNER = "tests.runner.PytestRunner"

# Who may

# Where the users are elsewhere, staff sign in to the admin with a token, and have a plain account
# here; callers of the API are whom their tokens say, and nobody else.
WITH_USERS = "users" in DEPLOYMENT.contexts
AUTH_USER_MODEL = "users.User" if WITH_USERS else "auth.User"
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend" if WITH_USERS else "severable.api.staff.StaffToken"
]
PASSWORD_HASHERS = (
    ["django.contrib.auth.hashers.MD5PasswordHasher"]
    if TESTING
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
JWT_PRIVATE_KEY = secret("JWT_PRIVATE_KEY", jwk.new_private_key) if WITH_USERS else ""
SERVICE_KEY = secret("SERVICE_KEY", development.random_secret)
SERVICE_KEY_FALLBACKS = env.str("SERVICE_KEY_FALLBACKS", "").replace(",", " ").split()
_trusted = env.str("JWT_PUBLIC_KEYS", "")
if DEVELOPMENT and not (WITH_USERS or _trusted):
    _trusted = jwk.key_set([jwk.public_jwk(secret("JWT_PRIVATE_KEY", jwk.new_private_key))])
elif not WITH_USERS:
    required("JWT_PUBLIC_KEYS", _trusted)
try:
    JWT_PUBLIC_KEYS = jwk.public_keys(_trusted)
except ValueError as error:
    raise ImproperlyConfigured(f"JWT_PUBLIC_KEYS: {error}") from None
SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=5),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=14),
    "ALGORITHM": "RS256",
    "USER_ID_CLAIM": "sub",
    "AUTH_TOKEN_CLASSES": ["severable.api.auth.AccessToken"],
    "TOKEN_USER_CLASS": "severable.api.auth.TokenCaller",
    "UPDATE_LAST_LOGIN": False,
}
SIGN_IN_FAILURES = env.int("SIGN_IN_FAILURES", 10)  # of an account and network, in five minutes
SIGN_IN_FAILURES_IN_ALL = env.int("SIGN_IN_FAILURES_IN_ALL", 100)  # from all unknown networks
SIGN_IN_TRIES = env.int("SIGN_IN_TRIES", 100)  # from an address, in one minute
RATE_LIMITS = rate_limits.rate_limits()
TRUSTED_PROXIES = env.int("TRUSTED_PROXIES", 0)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEVELOPMENT
SESSION_COOKIE_SAMESITE = "Lax"
# Deployments answer at one host, and browsers do not keep ports apart: with the same names each
# would end the sessions of the others. "sessionid" is where the users are; the API takes it there.
SESSION_COOKIE_NAME = "sessionid" if WITH_USERS else f"sessionid_{DEPLOYMENT.name}"
CSRF_COOKIE_NAME = "csrftoken" if WITH_USERS else f"csrftoken_{DEPLOYMENT.name}"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")  # see severable.http.wsgi.Request
SECURE_HSTS_SECONDS = 0 if DEVELOPMENT else 31_536_000
# TLS ends in front of us; whether other hosts of the domain have it is not ours to say.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W008", "security.W021"]
DATA_UPLOAD_MAX_MEMORY_SIZE = 1_048_576

# The database: one per deployment

DATABASES = {"default": database.settings_for(DEPLOYMENT)}

# The cache: one for all processes of a deployment

CACHE_URL = env.str("CACHE_URL", "")
# Without a server it is a folder. Outside development processes may be on several machines, and
# each would have its own: then no answers of calls are kept, for none would hear what ends them.
CACHE_IS_SHARED = bool(CACHE_URL) or DEVELOPMENT
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": CACHE_URL,
        "KEY_PREFIX": f"{env.str('CACHE_PREFIX', 'shop')}-{DEPLOYMENT.name}",
        "OPTIONS": {"SOCKET_CONNECT_TIMEOUT": 0.2, "SOCKET_TIMEOUT": 0.2}
        | {"SERIALIZER": "severable.caching.backends.Serializer"},
    }
    if CACHE_URL
    else {
        "BACKEND": "severable.caching.backends.FolderCache",
        "LOCATION": VAR / "cache" / DEPLOYMENT.name,
    }
    if DEVELOPMENT
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
}

# The broker

CELERY_BROKER_URL = env.str("BROKER_URL", "filesystem://")
EMBEDDED_BROKER = CELERY_BROKER_URL.startswith("filesystem:")
CELERY_BROKER_TRANSPORT_OPTIONS = broker.transport_options(CELERY_BROKER_URL, VAR / "broker")
QUEUE_ARGUMENTS = broker.queue_arguments(CELERY_BROKER_URL)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_CREATE_MISSING_QUEUES = False
CELERY_TASK_DEFAULT_QUEUE = DEPLOYMENT.queues[0] if DEPLOYMENT.queues else DEPLOYMENT.name
# The embedded broker is polled: a worker must take as much as it can do until the next poll.
CELERY_WORKER_PREFETCH_MULTIPLIER = 32 if EMBEDDED_BROKER else 1
# Its queue is one per host name, and exclusive: a second worker on a machine would die of it.
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 20
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_CONSUMER = "severable.events.celery:Consumer"
CELERY_IMPORTS = ("severable.jobs.tasks", "severable.events.delivery")
KAFKA_BOOTSTRAP_SERVERS = env.str("KAFKA_BOOTSTRAP_SERVERS", "")
KAFKA_OPTIONS = env.str("KAFKA_OPTIONS", "{}")

# Payments and mail

PAYMENT_PROVIDER = (
    required("PAYMENT_PROVIDER", "apps.payments.providers.TestProvider")
    if "payments" in DEPLOYMENT.contexts
    else ""
)
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", "shop@localhost")
MAIL_DIR = VAR / "mail"
_gateway = TOPOLOGY.where(PLACEMENT, topology.ENTRY).http[0]
PUBLIC_URL = required("PUBLIC_URL", f"http://{_gateway}").rstrip("/") if WITH_USERS else ""
EMAIL_BACKEND = "shop.mail.FileBackend"
if "notifications" in DEPLOYMENT.contexts:
    _mail = required("EMAIL_URL", "files")
    if _mail not in ("files", ""):
        try:
            vars().update(env.email_url_config(_mail))
        except ImproperlyConfigured as error:
            raise ImproperlyConfigured(f"EMAIL_URL: {error}") from None
# Of each read of the SMTP conversation, of which there are six or seven. A mail that is given up
# may have been sent, and is sent again; so this is long, and the mail's lease is renewed meanwhile.
EMAIL_TIMEOUT = 60

# The public API

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "severable.api.auth.TokenAuthentication",
        *(["severable.api.auth.BrowserAuthentication"] if WITH_USERS else []),
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["severable.api.parsers.LimitedJSONParser"],
    "DEFAULT_RENDERER_CLASSES": [
        "rest_framework.renderers.JSONRenderer",
        "rest_framework.renderers.BrowsableAPIRenderer",
    ],
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_PAGINATION_CLASS": "severable.api.pagination.Pages",
    "DEFAULT_SCHEMA_CLASS": "severable.api.schema.Schema",
    "EXCEPTION_HANDLER": "severable.api.errors.exception_handler",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "The shop",
    "DESCRIPTION": "Users, products, orders, payments and notifications. Errors are "
    "`application/problem+json`; amounts are integers in minor units (cents).",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": "/api/",
}

# Static files, of the admin and of the API's pages

STATIC_URL = "static/"
STATIC_ROOT = env.str("STATIC_ROOT", "" if DEVELOPMENT else str(BASE_DIR / "staticfiles")) or None
WHITENOISE_USE_FINDERS = DEVELOPMENT
UNFOLD = {
    "SITE_TITLE": "The shop",
    "SITE_HEADER": "The shop",
    "SITE_SYMBOL": "storefront",
    "SITE_URL": "/api/docs",
    "SHOW_HISTORY": False,
    "DASHBOARD_CALLBACK": "severable.admin.navigation.dashboard",
    "SIDEBAR": {"navigation": "severable.admin.navigation.sidebar"},
}

METRICS_TOKEN = env.str("METRICS_TOKEN", "")  # without, development alone shows /metrics
OTEL_EXPORTER_OTLP_ENDPOINT = env.str("OTEL_EXPORTER_OTLP_ENDPOINT", "")
LOGGING = logs.configuration(env.str("LOG_LEVEL", ""))

refuse_missing(DEPLOYMENT.name)
