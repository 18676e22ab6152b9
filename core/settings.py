"""Settings, from the environment; README.md has the table. They fail closed.

Without DATABASE_URL and REDIS_URL the checkout's own embedded servers are used (core.local).
"""

from __future__ import annotations

from pathlib import Path

import django_stubs_ext
from csp.constants import NONCE, NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from core import environment
from core.local import runtime

# Forms, admins and managers take their model in brackets, as the type checker wants them.
django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent
LOCAL_DIR = runtime.local_dir()

DATABASE_URL = environment.text("DATABASE_URL")
REDIS_URL = environment.text("REDIS_URL")
EMBEDDED = not (DATABASE_URL and REDIS_URL)
_runtime = runtime.load() if EMBEDDED else None
if _runtime:
    DATABASE_URL = DATABASE_URL or _runtime.database_url
    REDIS_URL = REDIS_URL or _runtime.redis_url

DEBUG = environment.flag("DEBUG")
SECRET_KEY = environment.text("SECRET_KEY", _runtime.secret_key if _runtime else "")
if not SECRET_KEY:
    raise ImproperlyConfigured(
        "Set SECRET_KEY: `python3 -c 'import secrets; print(secrets.token_urlsafe(50))'` makes one."
    )
# Encrypts stored passwords; to rotate, put a new key in front and keep the old one behind it.
ENCRYPTION_KEYS = environment.words("ENCRYPTION_KEYS") or [SECRET_KEY]
WEB_PORT = environment.number("WEB_PORT", 0) or (_runtime.web_port if _runtime else 8000)
ALLOWED_HOSTS = environment.words("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
# Where links in mail lead: unsubscribe pages, password resets.
BASE_URL = environment.text("BASE_URL", f"http://127.0.0.1:{WEB_PORT}").rstrip("/")
CSRF_TRUSTED_ORIGINS = [BASE_URL]

# The sandbox listens on loopback only and is where mail goes until a relay is configured.
SANDBOX_SMTP_PORT = environment.number(
    "SANDBOX_SMTP_PORT", _runtime.smtp_port if _runtime else 1025
)
SANDBOX_DNS_PORT = environment.number("SANDBOX_DNS_PORT", _runtime.dns_port if _runtime else 1053)
SANDBOX_DOMAIN = "sandbox.test"
SANDBOX_GREYLIST_SECONDS = environment.number("SANDBOX_GREYLIST_SECONDS", 60)

# The name by which this machine greets other mail servers (EHLO) and the sender of probes.
MAIL_HOSTNAME = environment.text("MAIL_HOSTNAME", "localhost")
PROBE_SENDER = environment.text("PROBE_SENDER")
PROBE_TIMEOUT_SECONDS = environment.number("PROBE_TIMEOUT_SECONDS", 10, least=1)
# Where mail to us comes in: the domain whose MX leads to the receiver, empty where none does, and
# the port on which `manage.py receive_mail` listens.
INBOUND_DOMAIN = environment.text("INBOUND_DOMAIN").lower()
INBOUND_PORT = environment.number("INBOUND_PORT", _runtime.inbound_port if _runtime else 2525)
INBOUND_HOST = environment.text("INBOUND_HOST", "127.0.0.1")
PRIVATE_RELAYS = environment.flag("PRIVATE_RELAYS")
# A MaxMind database of countries (GeoLite2-Country.mmdb or its like), to know those of opens.
GEOIP_DATABASE = environment.text("GEOIP_DATABASE")
# Of a letter that was told to come later: when first, doubling from there.
SMTP_RETRY_FIRST_SECONDS = environment.number("SMTP_RETRY_FIRST_SECONDS", 300, least=1)
# The longest wait for any reply; 0 leaves each stage the time of RFC 5321, up to ten minutes.
SMTP_REPLY_SECONDS = environment.number("SMTP_REPLY_SECONDS", 0)
IMPORT_CONCURRENCY = environment.number("IMPORT_CONCURRENCY", 2, least=1)
EMAIL_CONCURRENCY = environment.number("EMAIL_CONCURRENCY", 4, least=1)
SWEEP_SECONDS = environment.number("SWEEP_SECONDS", 30, least=1)
DEFAULT_FROM_EMAIL = environment.text("DEFAULT_FROM_EMAIL", "VashSender <noreply@sandbox.test>")

INSTALLED_APPS = [
    "core",
    "apps.accounts",
    "apps.senders",
    "apps.mailer",
    "apps.content",
    "apps.campaigns",
    "apps.tracking",
    "apps.returns",
    "apps.ops",
    "apps.sandbox",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.postgres",
    "django_celery_beat",
    "django_htmx",
    "csp",
    "allauth",
    "allauth.account",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "apps.accounts.middleware.PersonMiddleware",
    "apps.accounts.middleware.WorkspaceMiddleware",
    "core.errors.AppErrorMiddleware",
]

ROOT_URLCONF = "core.urls"
WSGI_APPLICATION = "core.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "csp.context_processors.nonce",
            ],
            "builtins": ["django.templatetags.i18n", "django.templatetags.static"],
        },
    },
]

DATABASES = {
    "default": environment.database(DATABASE_URL)
    | {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True},
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "cache",
    }
}

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_ADAPTER = "apps.accounts.adapter.AccountAdapter"
SIGNUP_OPEN = environment.flag("SIGNUP_OPEN")
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("ru", _("Russian"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = runtime.BASE_DIR / ".local" / "static"
WHITENOISE_KEEP_ONLY_HASHED_FILES = True
STATICFILES_DIRS = [BASE_DIR / "static", ("vendor", BASE_DIR / ".local" / "vendor")]
MEDIA_ROOT = Path(environment.text("MEDIA_ROOT", str(LOCAL_DIR / "media")))
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.TemporaryFileUploadHandler"]
FILE_UPLOAD_PERMISSIONS = 0o600
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024
# The mapping page of the widest file: four fields for each of 1,000 columns, and lists.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 5_000

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF, NONCE],
        "style-src": [SELF, NONCE],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "frame-src": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
        "manifest-src": [SELF],
    }
}
HTTPS = BASE_URL.startswith("https://")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_SSL_REDIRECT = environment.flag("SSL_REDIRECT")
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_PROXY_SSL_HEADER = (
    ("HTTP_X_FORWARDED_PROTO", "https") if environment.flag("BEHIND_PROXY") else None
)
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
EMAIL_HOST = environment.text("EMAIL_HOST", "127.0.0.1")
EMAIL_PORT = environment.number("EMAIL_PORT", SANDBOX_SMTP_PORT)
EMAIL_HOST_USER = environment.text("EMAIL_HOST_USER")
EMAIL_HOST_PASSWORD = environment.text("EMAIL_HOST_PASSWORD")
EMAIL_USE_TLS = environment.flag("EMAIL_USE_TLS")
EMAIL_TIMEOUT = 10

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"},
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    # They tell of every detector that is tried, and of every command that is received.
    "loggers": {"flufl": {"level": "WARNING"}, "mail.log": {"level": "WARNING"}},
    "root": {"handlers": ["console"], "level": environment.text("LOG_LEVEL", "INFO")},
}
SILENCED_SYSTEM_CHECKS: list[str] = []
