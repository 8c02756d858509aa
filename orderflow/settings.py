"""Settings: everything comes from the environment, or from a file .env beside manage.py.

`NAME_FILE` may name a file that holds the value of `NAME`, for secrets.
"""

from math import ceil
from pathlib import Path

import environ
from botocore.config import Config
from django.core.exceptions import ImproperlyConfigured
from pythonjsonlogger.core import RESERVED_ATTRS

from kernel.limits import MAX_BODY_BYTES, MAX_FORM_FIELDS

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = BASE_DIR / "var"


class _Environment(environ.fileaware_mapping.FileAwareMapping):  # type: ignore[misc]  # untyped library
    def __getitem__(self, name: str) -> str:
        # Editors and `echo` end a file with a line break, which belongs to no secret.
        value: str = super().__getitem__(name)
        return value.rstrip("\r\n")


class _Env(environ.Env):  # type: ignore[misc]  # untyped library
    ENVIRON = _Environment()


env = _Env()
environ.Env.read_env(BASE_DIR / ".env")


def required(name: str) -> str:
    """A setting without a default. Raises ImproperlyConfigured saying how to make one."""
    value: str = env.str(name, default="")
    if not value:
        raise ImproperlyConfigured(
            f"{name} is not set. `make .env` writes a file .env with random keys; in production "
            f"set {name} or {name}_FILE."
        )
    return value


# Security.
SECRET_KEY = required("SECRET_KEY")
FERNET_KEYS = [key.strip() for key in required("FERNET_KEYS").split(",") if key.strip()]
DEBUG = env.bool("DEBUG", default=False)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1"] if DEBUG else [])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=not DEBUG)
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=0 if DEBUG else 31_536_000)
SECURE_HSTS_INCLUDE_SUBDOMAINS = not DEBUG
SECURE_HSTS_PRELOAD = not DEBUG
if env.bool("TRUST_X_FORWARDED_PROTO", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SESSION_ENGINE = "accounts.sessions"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEBUG
SESSION_COOKIE_AGE = env.int("SESSION_COOKIE_AGE", default=12 * 3600)
X_FRAME_OPTIONS = "DENY"
AUTH_USER_MODEL = "accounts.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
    )
]

# How often somebody may ask or guess; accounts.E001 checks the values.
API_REQUESTS_PER_MINUTE = env.int("API_REQUESTS_PER_MINUTE", default=1200)
WRONG_TOKENS_PER_MINUTE = env.int("WRONG_TOKENS_PER_MINUTE", default=30)
FAILED_LOGINS_PER_USER = env.int("FAILED_LOGINS_PER_USER", default=5)
FAILED_LOGINS_PER_ADDRESS = env.int("FAILED_LOGINS_PER_ADDRESS", default=50)
TRUSTED_PROXIES = env.int("TRUSTED_PROXIES", default=0)

# How much one request may hold: no setting of the environment, because it follows from the orders.
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES
DATA_UPLOAD_MAX_NUMBER_FIELDS = MAX_FORM_FIELDS

# Whoever has it may read /metrics; without one nobody may.
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")

# The house.
INSTALLED_APPS = [
    "orderflow.apps.OrderflowAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_q",
    "accounts",
    "orders",
    "connectors",
    "notifications",
    "exports",
    "api",
    "backoffice",
    "worker",
    "simulator",
]
MIDDLEWARE = [
    "orderflow.middleware.request_context",
    "orderflow.health.health_middleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "orderflow.bodies.receive",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "orderflow.error_pages.StatementTimeouts",
]
ROOT_URLCONF = "orderflow.urls"
WSGI_APPLICATION = "orderflow.wsgi.application"
APPEND_SLASH = True
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
LANGUAGE_CODE = "en"
USE_I18N = False
FORMAT_MODULE_PATH = "orderflow.formats"
TIME_ZONE = "UTC"
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]

# The database.
DATABASES = {
    "default": env.db("DATABASE_URL", default=f"sqlite:///{VAR_DIR / 'orderflow.sqlite3'}")
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = {
        # Writers queue up instead of failing, and no claim is forgotten after a power loss.
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
    }
else:
    DATABASES["default"]["CONN_MAX_AGE"] = env.int("CONN_MAX_AGE", default=60)
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    # A server that vanished says no more: without these the system waits for it for two hours.
    DATABASES["default"]["OPTIONS"] = {
        "connect_timeout": 10,
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 60_000,
        **DATABASES["default"].get("OPTIONS", {}),
    }

# Nothing of ours is cached; django-q2 notes there what its monitors show.
CACHES = {"default": env.cache_url("CACHE_URL", default="dummycache://")}

# The archive of exports: a bucket if one is named, else a folder.
ARCHIVE_BUCKET = env.str("ARCHIVE_BUCKET", default="")
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
    "archive": {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": ARCHIVE_BUCKET,
            "endpoint_url": env.str("ARCHIVE_ENDPOINT_URL", default="") or None,
            "region_name": env.str("ARCHIVE_REGION", default="") or None,
            "access_key": env.str("ARCHIVE_ACCESS_KEY", default="") or None,
            "secret_key": env.str("ARCHIVE_SECRET_KEY", default="") or None,
            # A stalled bucket must not hold a worker until its task is killed.
            "client_config": Config(
                connect_timeout=5,
                read_timeout=15,
                retries={"max_attempts": 2},
                # By default botocore sends aws-chunked frames over https. A server that does not
                # know them stores the frames as part of the object.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        },
    }
    if ARCHIVE_BUCKET
    else {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": env.str("ARCHIVE_ROOT", default=str(VAR_DIR / "archive"))},
    },
}

# Connections.
DROPZONE_ROOTS = env.list("DROPZONE_ROOTS", default=[])
_NETWORKS_OF_THIS_HOST = [
    "0.0.0.0/8",
    "169.254.0.0/16",
    "::/128",
    "fe80::/10",
    "fd00:ec2::/32",
    *([] if DEBUG else ["127.0.0.0/8", "::1/128"]),
]
SFTP_DENIED_NETWORKS = env.list("SFTP_DENIED_NETWORKS", default=_NETWORKS_OF_THIS_HOST)

# Exports.
DELIVERY_INSTANCE = env.str("DELIVERY_INSTANCE", default="development" if DEBUG else "production")
EXPORT_GIVE_UP_HOURS = env.int("EXPORT_GIVE_UP_HOURS", default=72)
ACK_POLL_INTERVAL_SECONDS = env.int("ACK_POLL_INTERVAL_SECONDS", default=60)

# Notifications. Without EMAIL_URL nobody gets mail.
PUBLIC_URL = env.str("PUBLIC_URL", default="")
WEBHOOK_ALLOW_HTTP = env.bool("WEBHOOK_ALLOW_HTTP", default=DEBUG)
WEBHOOK_DENIED_NETWORKS = env.list(
    "WEBHOOK_DENIED_NETWORKS",
    default=[
        # Whatever SFTP may reach: a webhook shows the beginning of an answer.
        *_NETWORKS_OF_THIS_HOST,
        "10.0.0.0/8",
        "100.64.0.0/10",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "64:ff9b::/96",
        "fc00::/7",
    ],
)
MAIL_BUNDLE_MINUTES = env.int("MAIL_BUNDLE_MINUTES", default=5)
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="orderflow@localhost")
EMAIL_TIMEOUT = 10
vars().update(env.email("EMAIL_URL", default="dummymail://"))

# The queue only wakes workers: rows in the database decide what is done.
_WORKERS = env.int("WORKERS", default=2)
if _WORKERS < 1:
    raise ImproperlyConfigured("WORKERS must be 1 or more.")
_TASK_TIMEOUT = 120
Q_CLUSTER = {
    "name": "orderflow",
    "orm": "default",
    "workers": _WORKERS,
    "queue_limit": _WORKERS,
    "bulk": 1,
    "timeout": _TASK_TIMEOUT,
    # A task must not be handed out again while it still waits or runs; exports.E001 checks it.
    "retry": (ceil((_WORKERS + 1) / _WORKERS) + 1) * (_TASK_TIMEOUT + 3) + 60,
    "max_attempts": 1,
    "ack_failures": True,
    "catch_up": False,
    "save_limit": 250,
    "recycle": 500,
    "poll": 0.2,
    "label": "Task queue",
}

# The API.
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["api.authentication.BearerTokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["api.permissions.DeclaredPermission"],
    "DEFAULT_PARSER_CLASSES": ["api.parsing.ExactJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PAGINATION_CLASS": "api.pagination.KeysetPagination",
    "DEFAULT_FILTER_BACKENDS": ["api.filtering.StrictFilterBackend"],
    "EXCEPTION_HANDLER": "api.errors.problem_details",
    "DEFAULT_SCHEMA_CLASS": "api.schema.ApiSchema",
    "UNAUTHENTICATED_USER": None,
    # Accept says what an answer shall be.
    "URL_FORMAT_OVERRIDE": None,
}
SPECTACULAR_SETTINGS = {
    "OAS_VERSION": "3.1.0",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "SORT_OPERATION_PARAMETERS": False,
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "ENUM_SUFFIX": "",
    "ENUM_NAME_OVERRIDES": {
        "DraftOrderStatus": "orders.models.DraftOrder.Status",
        "ErpExportStatus": "exports.models.ErpExport.Status",
        "ErpExportEventKind": "exports.models.ErpExportEvent.Kind",
        "ErpAckClassification": "exports.models.ErpAck.Classification",
        "BatchAction": "exports.models.Batch.Action",
        "NewBatchAction": ["push", "retry"],
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "api.schema.add_parts",
    ],
}

# Logs: one line for each event, on standard error.
LOG_FORMAT = env.str("LOG_FORMAT", default="text" if DEBUG else "json")
if LOG_FORMAT not in ("json", "text"):
    raise ImproperlyConfigured("LOG_FORMAT must be json or text.")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "fmt": ["levelname", "name", "message"],
            "rename_fields": {"levelname": "level", "name": "logger"},
            "timestamp": "at",
            # Django adds the request itself, whose query is nobody's business.
            "reserved_attrs": [*RESERVED_ATTRS, "request"],
        },
        "text": {"format": "%(asctime)s %(levelname)s %(request_id)s %(name)s %(message)s"},
    },
    "filters": {"ids": {"()": "kernel.logs.IdsFilter"}},
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": LOG_FORMAT,
            "filters": ["ids"],
        }
    },
    "root": {"handlers": ["stderr"], "level": env.str("LOG_LEVEL", default="INFO")},
    "loggers": {
        # Without the handlers that Django gives it: each line is written once.
        "django": {"level": "INFO"},
        # A refused request has its line from orderflow.middleware already; a defect has its trace.
        "django.request": {"level": "ERROR"},
        # Reaching a server is our own log's business; paramiko repeats each refusal with a trace.
        "paramiko": {"level": "CRITICAL"},
        "django-q": {"level": "WARNING"},
    },
}
