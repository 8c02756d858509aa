"""The archive: every export is stored once, under the address of its content."""

from base64 import b64decode
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.core.management import CommandError, call_command

from accounts.models import User
from connectors.errors import ConnectorError
from connectors.models import ErpConnection
from connectors.storage import DjangoObjectStorage
from exports.delivery.archive import archive_pending
from exports.models import ErpExport
from exports.pushing.push import cancel_export
from tests.support.builders import a_connection, a_user, an_org, some_exports
from tests.support.processes import run
from tests.support.servers import PlainS3, S3Server
from tests.support.servers.web import new_certificate
from tests.support.storages import s3_options, storage_with


def test_same_bytes_are_stored_once(storage: DjangoObjectStorage) -> None:
    assert storage.put("exports/a/1.json", b"{}")
    assert not storage.put("exports/a/1.json", b"{}")
    assert storage.get("exports/a/1.json") == b"{}"


def test_other_bytes_are_not_overwritten(storage: DjangoObjectStorage) -> None:
    storage.put("exports/a/1.json", b"{}")
    with pytest.raises(ConnectorError) as raised:
        storage.put("exports/a/1.json", b"[]")
    assert raised.value.code == "ARCHIVE_CONFLICT"
    assert storage.get("exports/a/1.json") == b"{}"


def test_a_missing_object_is_not_an_outage(storage: DjangoObjectStorage) -> None:
    with pytest.raises(ConnectorError) as raised:
        storage.get("exports/a/none.json")
    assert raised.value.code == "ARCHIVE_MISSING"


def test_a_missing_archive_is_an_outage(s3: S3Server, tmp_path: Path) -> None:
    for missing in (
        storage_with("storages.backends.s3.S3Storage", s3_options(s3, "no-such-bucket")),
        storage_with(
            "django.core.files.storage.FileSystemStorage", {"location": str(tmp_path / "unmounted")}
        ),
    ):
        for storage in missing:
            with pytest.raises(ConnectorError) as raised:
                storage.get("exports/a/1.json")
            assert raised.value.code == "ARCHIVE_FAILED"


def test_wrong_credentials_show_no_secret(s3: S3Server, bucket: str) -> None:
    wrong = s3_options(s3, bucket, secret_key="canary-4711")
    for storage in storage_with("storages.backends.s3.S3Storage", wrong):
        with pytest.raises(ConnectorError) as raised:
            storage.put("exports/a/1.json", b"{}")
        error = raised.value
        assert error.code == "ARCHIVE_FAILED"
        assert "canary-4711" not in f"{error!r} {error.detail} {error.as_json()}"


@pytest.mark.django_db
def test_every_export_is_archived_whatever_its_status(
    storage: DjangoObjectStorage, dropzone_root: Path
) -> None:
    org = an_org()
    ann = a_user(org)
    a_connection(org, {"mode": "filesystem", "export_path": str(dropzone_root)})
    first, second = some_exports(org, ann, 2)
    cancel_export(first.id, actor=ann)
    assert archive_pending(storage) == 2
    assert archive_pending(storage) == 0
    for export in ErpExport.objects.all():
        assert export.archived_at
        assert storage.get(export.export_storage_key) == export.content
    assert second.export_storage_key == f"exports/{org.id}/{second.payload_sha256}.json"


@pytest.mark.django_db
def test_a_conflict_does_not_hold_up_the_others(
    storage: DjangoObjectStorage, dropzone_root: Path
) -> None:
    org = an_org()
    ann = a_user(org)
    a_connection(org, {"mode": "filesystem", "export_path": str(dropzone_root)})
    exports = some_exports(org, ann, 6)
    for export in exports[:4]:
        storage.put(export.export_storage_key, b"not ours")
    assert archive_pending(storage) == 2
    assert archive_pending(storage) == 0


@pytest.mark.django_db
def test_an_outage_of_the_archive_is_made_up_for(s3: S3Server, dropzone_root: Path) -> None:
    org = an_org()
    ann = a_user(org)
    a_connection(org, {"mode": "filesystem", "export_path": str(dropzone_root)})
    some_exports(org, ann)
    refused = s3_options(s3, "any", secret_key="wrong")
    for storage in storage_with("storages.backends.s3.S3Storage", refused):
        assert archive_pending(storage) == 0
    assert archive_pending() == 1


# Servers that do not keep what they get.


@pytest.fixture
def exports(transactional_db: None, mounted: ErpConnection, ann: User) -> list[ErpExport]:
    return some_exports(mounted.org, ann, 4)


def test_over_tls_the_body_is_plain(
    exports: list[ErpExport], child_env: dict[str, str], tmp_path: Path
) -> None:
    """With the settings of the service: over http botocore would send no frames anyway."""
    with PlainS3(certificate=new_certificate(tmp_path, "localhost")) as s3:
        env = {
            **child_env,
            "ARCHIVE_BUCKET": "archive",
            "ARCHIVE_ENDPOINT_URL": s3.endpoint_url,
            "ARCHIVE_REGION": "us-east-1",
            "ARCHIVE_ACCESS_KEY": s3.access_key,
            "ARCHIVE_SECRET_KEY": s3.secret_key,
            "AWS_CA_BUNDLE": str(s3.certificate),
        }
        code = "from exports.delivery.archive import archive_pending as a; print('archived', a())"
        done = run(env, "shell", "--no-imports", "-c", code)
        assert "archived 4" in done.stdout, done.stderr
    assert s3.objects == {export.export_storage_key: export.content for export in exports}
    assert all(export.archived_at for export in ErpExport.objects.all())
    for headers, content in zip(s3.puts, s3.objects.values(), strict=True):
        assert "aws-chunked" not in headers.get("Content-Encoding", "")
        assert b64decode(headers["Content-MD5"]) == md5(content).digest()


@pytest.mark.parametrize(
    ("keep", "code"),
    [
        (lambda body: body[:-1], "ARCHIVE_CORRUPT"),
        (lambda body: b"5;chunk-signature=x\r\n" + body, "ARCHIVE_CORRUPT"),
        (lambda body: None, "ARCHIVE_MISSING"),
    ],
)
def test_what_the_storage_does_not_keep_is_not_archived(
    exports: list[ErpExport], caplog: pytest.LogCaptureFixture, keep: Any, code: str
) -> None:
    with PlainS3(keep=keep) as s3:
        for storage in storage_with("storages.backends.s3.S3Storage", s3_options(s3, "archive")):
            assert archive_pending(storage) == 0
            # Three in a row, and the run ends: it is the storage.
            assert caplog.text.count(code) == 3
            assert str(exports[0].id) in caplog.text
            assert not ErpExport.objects.filter(archived_at__isnull=False).exists()
            assert all(export.content for export in ErpExport.objects.all())
            # Once the server is repaired, nothing is in the way.
            s3.keep = lambda body: body
            assert archive_pending(storage) == 4
    assert s3.objects == {export.export_storage_key: export.content for export in exports}


# Verifying.


@pytest.fixture
def archived(storage: DjangoObjectStorage, dropzone_root: Path) -> list[ErpExport]:
    """Archived exports, in the order of their keys."""
    org = an_org()
    ann = a_user(org)
    a_connection(org, {"mode": "filesystem", "export_path": str(dropzone_root)})
    some_exports(org, ann, 4)
    archive_pending(storage)
    return list(ErpExport.objects.order_by("export_storage_key"))


def replace(key: str, content: bytes | None) -> None:
    """Put something else under a key, or nothing."""
    backend = storages["archive"]
    backend.delete(key)
    if content is not None:
        backend.save(key, ContentFile(content))


@pytest.mark.django_db
def test_an_archive_that_is_whole_is_verified(
    archived: list[ErpExport], capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("verify_archive")
    assert capsys.readouterr().out.startswith("4 objects: 4 whole, 0 missing, 0 different")


@pytest.mark.django_db
def test_missing_and_different_objects_are_named(
    archived: list[ErpExport], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, *_ = (export.export_storage_key for export in archived)
    replace(first, None)
    replace(second, archived[1].content[:-1] + b" ")
    with pytest.raises(CommandError) as failed:
        call_command("verify_archive")
    assert failed.value.returncode == 1
    assert capsys.readouterr().out.splitlines()[:3] == [
        f"missing: {first}",
        f"different: {second}",
        "4 objects: 2 whole, 1 missing, 1 different",
    ]


@pytest.mark.django_db
def test_it_is_verified_in_parts(
    archived: list[ErpExport],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("exports.delivery.archive._LISTED_AT_ONCE", 1)
    *_, third, last = (export.export_storage_key for export in archived)
    replace(last, None)
    call_command("verify_archive", "--limit", "3")
    told = capsys.readouterr().out
    assert told == (
        f"3 objects: 3 whole, 0 missing, 0 different\nTo go on from here: --after {third}\n"
    )
    with pytest.raises(CommandError):
        call_command("verify_archive", "--after", third)
    assert f"missing: {last}\n1 objects:" in capsys.readouterr().out


@pytest.mark.django_db
def test_a_shared_object_is_read_once(
    archived: list[ErpExport], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, *_ = archived
    ErpExport.objects.filter(id=second.id).update(
        export_storage_key=first.export_storage_key, payload_sha256=first.payload_sha256
    )
    call_command("verify_archive")
    assert capsys.readouterr().out.startswith("3 objects")


@pytest.mark.django_db
def test_an_outage_is_told_from_a_loss(
    archived: list[ErpExport], s3: S3Server, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = s3_options(s3, "any", secret_key="wrong")
    for _ in storage_with("storages.backends.s3.S3Storage", refused):
        with pytest.raises(CommandError) as failed:
            call_command("verify_archive")
    assert failed.value.returncode == 2
    assert capsys.readouterr().out.startswith("0 objects")
