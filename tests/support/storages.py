"""The archive of a test: a folder, or a bucket of a real S3 server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import storages
from django.test import override_settings

from connectors.storage import DjangoObjectStorage
from tests.support.servers import PlainS3, S3Server


def s3_options(s3: S3Server | PlainS3, bucket: str, **changes: Any) -> dict[str, Any]:
    return {
        "bucket_name": bucket,
        "endpoint_url": s3.endpoint_url,
        "access_key": s3.access_key,
        "secret_key": s3.secret_key,
        "region_name": "us-east-1",
        **changes,
    }


def storage_with(backend: str, backend_options: dict[str, Any]) -> Iterator[DjangoObjectStorage]:
    changed = {**storages.backends, "archive": {"BACKEND": backend, "OPTIONS": backend_options}}
    with override_settings(STORAGES=changed):
        yield DjangoObjectStorage()


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DjangoObjectStorage]:
    """The archive for the time of a test, once as a folder and once on S3."""
    if request.param == "folder":
        yield from storage_with(
            "django.core.files.storage.FileSystemStorage", {"location": str(tmp_path)}
        )
    else:
        s3 = request.getfixturevalue("s3")
        bucket = request.getfixturevalue("bucket")
        yield from storage_with("storages.backends.s3.S3Storage", s3_options(s3, bucket))
