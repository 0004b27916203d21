"""Settings of the test project. Everything that differs between hosts comes from the environment.

The lines about backups are the ones to copy into a project of your own: STORAGES["dbbackup"], IGNY8_BACKUP.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from project.environment import database, flag, words

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = BASE_DIR / "var"  # what the project writes when the environment names no other place
env = os.environ.get

DEBUG = flag("DJANGO_DEBUG", True)
SECRET_KEY = env("DJANGO_SECRET_KEY", "only-for-development-and-tests" if DEBUG else "")
if not SECRET_KEY:
    raise ImproperlyConfigured("Outside DEBUG a secret key is needed: set DJANGO_SECRET_KEY.")
ALLOWED_HOSTS = words("DJANGO_ALLOWED_HOSTS")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "dbbackup",
    "igny8_backup",
    "accounts",
    "billing",
    "sites_app",
    "content",
    "automation",
    "demo",
]
if find_spec("django_celery_beat"):
    INSTALLED_APPS.append("django_celery_beat")

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "project.security.content_security_policy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
ROOT_URLCONF = "project.urls"
WSGI_APPLICATION = "project.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
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
AUTH_USER_MODEL = "accounts.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"
MEDIA_ROOT = env("IGNY8_UPLOADS", str(VAR_DIR / "uploads"))

# PostgreSQL, or SQLite while debugging without a database in the environment.
DATABASES = {"default": database(os.environ, debug=DEBUG, sqlite=BASE_DIR / "db.sqlite3")}

CELERY_BROKER_URL = env("CELERY_BROKER_URL", "redis://127.0.0.1:6379/0")
CELERY_TASK_IGNORE_RESULT = True
CELERY_TIMEZONE = TIME_ZONE

# Where backups go: a bucket, or a folder that is neither served nor backed up itself.
BACKUP_STORAGE: dict[str, Any]
if bucket := env("IGNY8_BACKUP_S3_BUCKET"):
    BACKUP_STORAGE = {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": bucket,
            "endpoint_url": env("IGNY8_BACKUP_S3_ENDPOINT"),
            "region_name": env("IGNY8_BACKUP_S3_REGION", "us-east-1"),
            "access_key": env("IGNY8_BACKUP_S3_ACCESS_KEY"),
            "secret_key": env("IGNY8_BACKUP_S3_SECRET_KEY"),
            "default_acl": None,
            "file_overwrite": True,
        },
    }
else:
    BACKUP_STORAGE = {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": env("IGNY8_BACKUP_FOLDER", str(VAR_DIR / "backups"))},
    }
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "dbbackup": BACKUP_STORAGE,
}

IGNY8_BACKUP: dict[str, Any] = {
    # The trees to back up, each under a name that stays the same when the folder moves.
    "SITES": {
        "sites-data": env("IGNY8_SITES_DATA", str(VAR_DIR / "sites-data")),
        "uploads": MEDIA_ROOT,
    },
}
if logs := env("IGNY8_LOGS"):
    IGNY8_BACKUP["LOGS"] = {"logs": logs}
if recipients := words("IGNY8_BACKUP_RECIPIENTS"):
    # Public keys only: this server writes backups and cannot read them.
    IGNY8_BACKUP["ENCRYPTION"] = {"RECIPIENTS": recipients}
    if identity := env("IGNY8_BACKUP_IDENTITY_FILE"):
        IGNY8_BACKUP["ENCRYPTION"]["IDENTITY_FILE"] = identity
elif env("IGNY8_BACKUP_ENCRYPTION") == "none":
    IGNY8_BACKUP["ENCRYPTION"] = None
if signing_key := env("IGNY8_BACKUP_SIGNING_KEY"):
    IGNY8_BACKUP["SIGNING"] = {"KEY_FILE": signing_key}
if trusted := env("IGNY8_BACKUP_TRUSTED"):
    IGNY8_BACKUP["TRUSTED"] = trusted.split(",")
if offsite := env("IGNY8_BACKUP_OFFSITE"):
    # A second storage, which gets a copy of each backup.
    STORAGES["offsite"] = {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": offsite},
    }
    IGNY8_BACKUP["COPIES"] = {"offsite": {"storage": "offsite"}}
for key in ("PREFIX", "HOST", "ENVIRONMENT", "SCRATCH_DIR", "STATE_DIR", "CLIENT_BIN_DIR"):
    if text := env(f"IGNY8_BACKUP_{key}"):
        IGNY8_BACKUP[key] = text
if aliases := words("IGNY8_BACKUP_DATABASES"):
    IGNY8_BACKUP["DATABASES"] = aliases
if tables := words("IGNY8_BACKUP_EXCLUDE_TABLE_DATA"):
    IGNY8_BACKUP["EXCLUDE_TABLE_DATA"] = {"default": tables}
for key in ("JOBS", "COMPRESSION_LEVEL", "FILES_COMPRESSION_LEVEL", "STALL_SECONDS", "RETRY_SECONDS"):
    if number := env(f"IGNY8_BACKUP_{key}"):
        IGNY8_BACKUP[key] = int(number)
