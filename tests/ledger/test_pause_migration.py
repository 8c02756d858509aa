"""The migrations that split the reason of a pause into a code and a text, both ways."""

import pytest
from django.apps.registry import Apps
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Value

from accounts.models import Org, User
from connectors.models import ErpConnection
from kernel.db import Now
from tests.support.builders import an_org

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.ledger]

BEFORE = ("connectors", "0007_delivery_instance")
SPLIT = {
    "running": ("", ""),
    "untested": ("NEVER_TESTED", ""),
    "refused": ("AUTH_FAILED", ""),
    "holiday": ("BY_PERSON", "Holiday"),
    "holiday-no-folder": ("BY_PERSON", "Holiday"),
    "holiday-refused": ("AUTH_FAILED", "NEVER_TESTED, she says"),
}


def tables_before() -> Apps:
    executor = MigrationExecutor(connection)
    executor.migrate([BEFORE])
    return executor.loader.project_state([BEFORE]).apps


def split() -> dict[str, tuple[str, str]]:
    rows = ErpConnection.objects.values_list("org__slug", "pause_code", "pause_text")
    return {slug: (code, text) for slug, code, text in rows}


def test_a_reason_becomes_a_code_and_a_text_and_back(ann: User) -> None:
    ids = {slug: an_org(slug).pk for slug in SPLIT}
    try:
        old = tables_before().get_model("connectors", "ErpConnection").objects
        for slug, (code, text) in SPLIT.items():
            error = {"holiday-refused": "AUTH_FAILED", "holiday-no-folder": "DIR_MISSING"}.get(slug)
            old.create(
                org_id=ids[slug],
                connector_type="DROPZONE_JSON_V1",
                config_encrypted=Value("x"),
                paused_at=Now() if code else None,
                paused_by_id=ann.pk if text else None,
                pause_reason=text or code,
                last_error=error and {"code": error},
            )
        call_command("migrate", verbosity=0)
        assert split() == SPLIT
        old = tables_before().get_model("connectors", "ErpConnection").objects
        reasons = dict(old.values_list("org__slug", "pause_reason"))
        assert reasons == {slug: text or code for slug, (code, text) in SPLIT.items()}
    finally:
        call_command("migrate", verbosity=0)
    assert split() == SPLIT


@pytest.mark.parametrize(
    "wrong",
    [
        {"paused_at": None},
        {"pause_code": ""},
        {"pause_text": ""},
        {"paused_by": None},
        {"paused_by": None, "pause_text": ""},
    ],
    ids=str,
)
def test_a_pause_has_a_code_and_that_of_a_person_a_text(
    org: Org, ann: User, wrong: dict[str, None]
) -> None:
    row = ErpConnection(org=org, connector_type="DROPZONE_JSON_V1")
    row.seal({})
    row.save(force_insert=True)
    by_person = {"paused_by": ann, "pause_code": "BY_PERSON", "pause_text": "Holiday"}
    ErpConnection.objects.update(**by_person)
    with pytest.raises(IntegrityError), transaction.atomic():
        ErpConnection.objects.update(**wrong)
