"""Object storage: the archive that the port asks for, over a django-storages backend."""

import base64
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import md5
from pathlib import Path
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import FileSystemStorage, Storage, storages
from storages.backends.s3 import S3Storage

from connectors.errors import ConnectorError
from connectors.port import media_type

# How the names of files end that are not objects yet.
_PASSING: Final = ".tmp"


class DjangoObjectStorage:
    """Objects are created, never overwritten. `alias` is a key of the STORAGES setting."""

    def __init__(self, alias: str = "archive") -> None:
        self._backend: Storage = storages[alias]

    def put(self, key: str, content: bytes) -> bool:
        with _translated(key):
            if isinstance(self._backend, S3Storage):
                is_new = _create_object(self._backend, key, content)
            elif isinstance(self._backend, FileSystemStorage):
                is_new = _create_file(Path(self._backend.path(key)), content)
            else:
                # save() of other backends looks first and writes then.
                raise ImproperlyConfigured("The archive must be an S3 or a file system storage.")
        # Read back also what was just stored: a server may keep a body other than it was sent.
        if self.get(key) != content:
            if not is_new:
                raise ConnectorError("ARCHIVE_CONFLICT", detail=key)
            # Else the next attempt would find other bytes under its key.
            with suppress(ConnectorError):
                self.delete(key)
            raise ConnectorError("ARCHIVE_CORRUPT", detail=key)
        return is_new

    def get(self, key: str) -> bytes:
        with _translated(key):
            if isinstance(self._backend, S3Storage):
                return _read_object(self._backend, key)
            try:
                with self._backend.open(key) as stream:
                    content: bytes = stream.read()
            except FileNotFoundError:
                # A disk that is not mounted has lost no object.
                if Path(self._backend.path("")).is_dir():
                    raise ConnectorError("ARCHIVE_MISSING", detail=key) from None
                raise
        return content

    def keys(self, prefix: str) -> Iterator[str]:
        with _translated(prefix):
            if isinstance(self._backend, S3Storage):
                client = self._backend.connection.meta.client
                pages = client.get_paginator("list_objects_v2").paginate(
                    Bucket=self._backend.bucket_name, Prefix=prefix
                )
                yield from (found["Key"] for page in pages for found in page.get("Contents", []))
            else:
                root = Path(self._backend.path(""))
                files = (path for path in (root / prefix).rglob("*") if path.is_file())
                yield from (
                    path.relative_to(root).as_posix() for path in files if path.suffix != _PASSING
                )

    def delete(self, key: str) -> None:
        with _translated(key):
            self._backend.delete(key)


def _create_object(backend: S3Storage, key: str, content: bytes) -> bool:
    try:
        backend.connection.meta.client.put_object(
            Bucket=backend.bucket_name,
            Key=key,
            Body=content,
            # The server compares it, and buckets with a retention of their own demand it.
            ContentMD5=base64.b64encode(md5(content, usedforsecurity=False).digest()).decode(),
            ContentType=media_type(key),
            IfNoneMatch="*",
        )
    except ClientError as e:
        if e.response["ResponseMetadata"]["HTTPStatusCode"] == 412:
            return False
        raise
    return True


def _read_object(backend: S3Storage, key: str) -> bytes:
    # Not by open(): it asks by HEAD, which cannot tell a missing object from a missing bucket.
    try:
        found = backend.connection.meta.client.get_object(Bucket=backend.bucket_name, Key=key)
    except ClientError as e:
        if e.response["Error"]["Code"] == "NoSuchKey":
            raise ConnectorError("ARCHIVE_MISSING", detail=key) from None
        raise
    content: bytes = found["Body"].read()
    return content


def _create_file(path: Path, content: bytes) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Complete under a passing name first: a crash must not leave half an object under the key.
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=_PASSING) as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
        try:
            os.link(stream.name, path)
        except FileExistsError:
            return False
    return True


@contextmanager
def _translated(key: str) -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ClientError, OSError) as e:
        # The text of a client's error may hold keys and addresses: only its class is kept, and no
        # cause that a log would print.
        raise ConnectorError("ARCHIVE_FAILED", detail=f"{key}: {type(e).__name__}") from None
