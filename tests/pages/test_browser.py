"""The admin in a real browser: a dropzone is set up, an order approved, pushed and delivered."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.models import User
from connectors import registry
from connectors.models import ErpConnection
from exports.models import ErpExport
from tests.support.browser import PASSWORD, log_in, watched
from tests.support.builders import an_order, an_org
from tests.support.processes import worker

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def admin(page: Page, live_server: LiveServer) -> Iterator[Page]:
    """The admin's start page after a login; at the end nothing must have gone wrong in it."""
    User.objects.create_superuser("ann", email="ann@acme.example", password=PASSWORD)
    with watched(page.context):
        yield log_in(page, live_server.url, "ann")


@pytest.fixture
def a_worker(child_env: dict[str, str]) -> Iterator[None]:
    with worker(child_env):
        yield


def test_from_an_empty_dropzone_to_a_sent_order(
    admin: Page, live_server: LiveServer, dropzone_root: Path, a_worker: None
) -> None:
    org = an_org()
    order = an_order(org)

    admin.goto(f"{live_server.url}/admin/connectors/erpconnection/add/")
    admin.get_by_label("Organisation:").select_option(label="Acme")
    expect(admin.get_by_label("Host:")).to_be_visible()
    admin.get_by_label("Mode:", exact=True).select_option(label="Mounted folder")
    expect(admin.get_by_label("Host:")).to_be_hidden()
    admin.get_by_label("Export folder:").fill(str(dropzone_root / "exports"))
    admin.get_by_role("button", name="Save and continue editing").click()
    expect(admin.get_by_text("was not tested since").first).to_be_visible()

    # The folder is missing: the test says so, and who must act. Then it is there.
    admin.get_by_role("link", name="Test connection").click()
    admin.get_by_role("button", name="Test").click()
    expect(admin.get_by_text("does not exist").first).to_be_visible(timeout=20_000)
    (dropzone_root / "exports").mkdir()
    erp = ErpConnection.objects.get()
    admin.goto(f"{live_server.url}/admin/connectors/erpconnection/{erp.id}/change/")
    admin.get_by_role("link", name="Test connection").click()
    admin.get_by_role("button", name="Test").click()
    expect(admin.get_by_text("free space")).to_be_visible()

    admin.goto(f"{live_server.url}/admin/orders/draftorder/{order.id}/change/")
    for decision, outcome in (("Approve", "was approved"), ("Push", "was pushed")):
        admin.get_by_role("link", name=decision, exact=False).first.click()
        admin.get_by_role("button", name=decision).click()
        expect(admin.get_by_text(outcome)).to_be_visible()

    export = order.exports.get()
    while ErpExport.objects.get(id=export.id).status == "PENDING":
        admin.wait_for_timeout(100)
    admin.reload()
    expect(admin.get_by_text("sent", exact=True).first).to_be_visible()
    assert (dropzone_root / "exports" / export.filename).read_bytes() == export.content


def test_another_type_has_other_fields(
    admin: Page, live_server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ("S3 bucket (CSV files)", "tests.support.s3_dropzone.S3CsvConnector")
    monkeypatch.setitem(registry.CONNECTORS, "S3_CSV_V1", line)
    an_org()
    admin.goto(f"{live_server.url}/admin/connectors/erpconnection/add/")
    admin.get_by_label("Organisation:").select_option(label="Acme")
    admin.get_by_label("Connector type:").select_option(label="S3 bucket (CSV files)")
    expect(admin.get_by_label("Bucket:")).to_be_visible()
    expect(admin.get_by_label("Host:")).to_have_count(0)
    expect(admin.get_by_label("Organisation:").locator("option:checked")).to_have_text("Acme")
