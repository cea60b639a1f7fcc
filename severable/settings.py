"""Django settings of a project whose contexts run together or apart.

A project's settings begin with `from severable.settings import *`, and add or replace what is its
own: its apps in INSTALLED_APPS, AUTH_USER_MODEL, and the titles of its pages. ISSUES_TOKENS is
whether the deployment has the context with the user accounts: the one that `topology.toml` gives
the secret JWT_PRIVATE_KEY. docs/production.md lists the environment variables.
"""

from __future__ import annotations

from datetime import timedelta

from django.core.exceptions import ImproperlyConfigured

from severable import project, topology
from severable.config import broker, database, development, jwk, rate_limits, tls, trusted_keys
from severable.config.environment import (
    DEVELOPMENT,
    VAR,
    env,
    required,
    secret,
)
from severable.telemetry import logs

# The deployment

BASE_DIR = project.root()
TOPOLOGY = topology.load(topology.path())
if env.bool("SHOP_MESH", False):
    TOPOLOGY = TOPOLOGY.in_mesh()  # only the mesh retries a call
PLACEMENT = env.str("SHOP_PLACEMENT", "one")
CHANNEL = env.str("CHANNEL", "grpc")  # of calls to contexts of other deployments
if CHANNEL not in ("grpc", "rest"):
    raise ImproperlyConfigured(f"CHANNEL is {CHANNEL!r}; there is: grpc, rest")
if TOPOLOGY.faults and not DEVELOPMENT:
    raise ImproperlyConfigured("topology.toml: [faults] are for development only")
DEPLOYMENT = TOPOLOGY.deployment(PLACEMENT, env.str("SHOP_DEPLOYMENT", None))
ISSUES_TOKENS = TOPOLOGY.accounts is not None and TOPOLOGY.accounts.name in DEPLOYMENT.contexts
GRPC_LISTEN = env.str("GRPC_LISTEN", DEPLOYMENT.grpc[0])
# Seconds that a web process serves on after SIGTERM, while its callers turn to other replicas.
DRAIN_SECONDS = env.float("DRAIN_SECONDS", 1.0 if len(DEPLOYMENT.http) > 1 else 0.0)
TLS = tls.certificates(env.ENVIRON)  # of calls between deployments; None: plain text

SECRET_KEY = secret(
    "SECRET_KEY", development.random_secret, "signs sessions and links; 50 random characters"
)
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
DEBUG = False
ALLOWED_HOSTS = [
    host.strip()
    for host in required("ALLOWED_HOSTS", "*", "the public host names, with commas").split(",")
]
# Other deployments call this one by its own address.
ALLOWED_HOSTS += sorted({address.rpartition(":")[0] for address in DEPLOYMENT.http})
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

OTEL_EXPORTER_OTLP_ENDPOINT = env.str("OTEL_EXPORTER_OTLP_ENDPOINT", "")

INSTALLED_APPS = [
    "severable",
    "unfold.apps.BasicAppConfig",
    "severable.admin.apps.DjangoAdminConfig",
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
    *(f"{project.CONTEXTS}.{context}" for context in DEPLOYMENT.contexts),
]

MIDDLEWARE = [
    "severable.api.csp.ContentSecurityPolicy",
    "severable.telemetry.middleware.RequestId",
    "severable.telemetry.middleware.Probes",
    *([] if OTEL_EXPORTER_OTLP_ENDPOINT else ["severable.telemetry.middleware.TraceIds"]),
    "severable.api.internal.InternalMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware"
    if ISSUES_TOKENS
    else "severable.api.staff.StaffAuthentication",
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

ROOT_URLCONF = "severable.urls"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Authentication

# Staff sign in where the user accounts are. Elsewhere a cookie with a token names them, and they
# have an account of Django's without a password.
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend"
    if ISSUES_TOKENS
    else "severable.api.staff.StaffPermissions"
]
STAFF_COOKIE_NAME = "staff" if DEVELOPMENT else "__Host-staff"  # no other host can set it
JWT_PRIVATE_KEY = (
    secret("JWT_PRIVATE_KEY", jwk.new_private_key, "signs tokens; manage.py jwks --new makes one")
    if ISSUES_TOKENS
    else ""
)
SERVICE_KEY = secret(
    "SERVICE_KEY",
    development.random_secret,
    "authenticates deployments to each other; the same 50 random characters in all",
)
SERVICE_KEY_FALLBACKS = env.str("SERVICE_KEY_FALLBACKS", "").replace(",", " ").split()
JWT_PUBLIC_KEYS = trusted_keys.trusted_keys(ISSUES_TOKENS)
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
RATE_LIMITS = rate_limits.rate_limits({"reads": 600})  # requests of one caller per minute
TRUSTED_PROXIES = env.int("TRUSTED_PROXIES", 0)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEVELOPMENT
SESSION_COOKIE_SAMESITE = "Lax"
# Deployments answer at one host, and browsers do not separate cookies by port: with the same name
# each would end the sessions of the others. The CSRF cookie is the same for all: the form of a page
# may lead to another deployment, as that for signing out does.
SESSION_COOKIE_NAME = "sessionid" if ISSUES_TOKENS else f"sessionid_{DEPLOYMENT.name}"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")  # see severable.http.wsgi.Request
SECURE_HSTS_SECONDS = 0 if DEVELOPMENT else 31_536_000
# TLS ends at the proxy in front; the domain's other hosts may not have it.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W008", "security.W021"]
DATA_UPLOAD_MAX_MEMORY_SIZE = 1_048_576

# The database: one per deployment

DATABASES = {"default": database.settings_for(DEPLOYMENT)}

# The cache: one for all processes of a deployment

CACHE_URL = env.address("CACHE_URL", "", ("redis", "rediss"))
# Without a server the cache is a folder, in development. Elsewhere processes may run on several
# machines: calls are not cached then, because an event would invalidate one machine's copy only.
CACHE_IS_SHARED = bool(CACHE_URL) or DEVELOPMENT
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": CACHE_URL,
        "KEY_PREFIX": f"{env.str('CACHE_PREFIX', project.name())}-{DEPLOYMENT.name}",
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

BROKERS = ("filesystem", "amqp", "amqps", "pyamqp", "redis", "rediss")
CELERY_BROKER_URL = env.address("BROKER_URL", "filesystem://", BROKERS)
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
# The embedded broker would have to be polled for it, too.
CELERY_WORKER_ENABLE_REMOTE_CONTROL = not EMBEDDED_BROKER
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 20
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_CONSUMER = "severable.events.celery:Consumer"
CELERY_IMPORTS = ("severable.jobs.tasks", "severable.events.delivery")
KAFKA_BOOTSTRAP_SERVERS = env.str("KAFKA_BOOTSTRAP_SERVERS", "")
KAFKA_OPTIONS = env.str("KAFKA_OPTIONS", "{}")

# The public API

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "severable.api.auth.TokenAuthentication",
        *(["severable.api.auth.BrowserAuthentication"] if ISSUES_TOKENS else []),
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
    "SITE_URL": "/api/docs",
    "SHOW_HISTORY": False,
    "DASHBOARD_CALLBACK": "severable.admin.navigation.dashboard",
    "SIDEBAR": {"navigation": "severable.admin.navigation.sidebar"},
    "SCRIPTS": [] if ISSUES_TOKENS else ["severable.admin.navigation.renewal"],
}

# Telemetry

METRICS_TOKEN = env.str("METRICS_TOKEN", "")  # if it is empty, /metrics is for development only
LOGGING = logs.configuration(env.str("LOG_LEVEL", ""))
