"""Settings of the tests: the service's own, on servers and folders made for this run."""

import os
import secrets

from tests.support.servers import postgres
from tests.support.servers.process import scratch_folder

_IS_SQLITE = os.environ.get("TEST_DATABASE") == "sqlite"
_FOLDER = scratch_folder("project")

# The environment wins over a developer's .env, and the processes that tests start inherit it.
os.environ.update(
    SECRET_KEY=secrets.token_urlsafe(50),
    FERNET_KEYS=secrets.token_urlsafe(32),
    # Plain HTTP, and servers on loopback. Django's test runner turns DEBUG itself off again.
    DEBUG="true",
    DATABASE_URL=f"sqlite:///{_FOLDER / 'db.sqlite3'}" if _IS_SQLITE else postgres.start(),
    DROPZONE_ROOTS=str(_FOLDER / "dropzones"),
    ARCHIVE_BUCKET="",
    ARCHIVE_ROOT=str(_FOLDER / "archive"),
)
(_FOLDER / "dropzones").mkdir()

from orderflow.settings import *  # noqa: E402, F403  it reads the environment above
from orderflow.settings import DATABASES, STORAGES  # noqa: E402

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
STATIC_ROOT = _FOLDER / "static"
STATIC_ROOT.mkdir()
if _IS_SQLITE:
    # A file, because threads and processes must be able to share it.
    DATABASES["default"]["TEST"] = {"NAME": _FOLDER / "test.sqlite3"}
