"""The operator guide in a real browser: what it says happens, every chapter of it.

One organisation, one SFTP server, one worker and one ERP live through all of it, in an order in
which one chapter leaves what the next one needs. With PICTURES set in the environment the guide's
pictures are taken anew.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import F
from playwright.sync_api import Locator, Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.models import Membership, Org, User
from connectors.models import ErpConnection
from exports.models import ErpExport
from orders.models import Customer, DraftOrder
from simulator.erp import ErpSimulator
from simulator.script import Error, Rule, Script, Silence
from tests.support.browser import PASSWORD, log_in, watched
from tests.support.builders import an_order, an_org
from tests.support.processes import ROOT, worker
from tests.support.servers import AsyncSSHServer
from tests.support.servers.keys import new_key

pytestmark = pytest.mark.django_db(transaction=True)

GUIDE = ROOT / "docs/operator-guide.md"
PICTURES = ROOT / "docs/images/guide"
UNKNOWN_NUMBER = "40001"
RULES = (
    Error(
        customer=UNKNOWN_NUMBER,
        code="CUSTOMER_UNKNOWN",
        message=f"Customer {UNKNOWN_NUMBER} is not known.",
    ),
    Silence(order="PO-SILENT"),
)
# Nine of the many orders.
UPSET = Error(order="PO-500?", code="PERIOD_CLOSED", message="The period is closed.")
MANY = 60


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Where the stories play: two people at their browsers, and the ERP's side of the dropzone."""

    url: str
    org: Org
    operator: Page
    approver: Page
    server: AsyncSSHServer
    pictures: Path
    erp_home: Path

    def picture(self, page: Page, name: str, *, highest: int = 720) -> None:
        """Take a picture of what the page is about, from its beginning."""
        page.evaluate("scrollTo(0, 0)")
        box = content(page).bounding_box()
        assert box
        page.screenshot(
            path=self.pictures / f"{name}.png",
            full_page=True,
            clip={**box, "height": min(box["height"], highest)},
        )

    def erp(self, *rules: Rule) -> ErpSimulator:
        """The ERP, which answers by these rules while the `with` block lasts."""
        folders = {name: self.server.root / name for name in ("exports", "acks")}
        return ErpSimulator(**folders, script=Script(rules), home=self.erp_home)

    @property
    def connection_url(self) -> str:
        connection = ErpConnection.objects.get(org=self.org)
        return f"{self.url}/admin/connectors/erpconnection/{connection.id}/change/"

    def open_order(self, order: DraftOrder) -> Page:
        self.approver.goto(f"{self.url}/admin/orders/draftorder/{order.id}/change/")
        return self.approver

    def open_export(self, page: Page, order: DraftOrder) -> ErpExport:
        """Open the page of the latest export of an order."""
        export = order.exports.latest("created_at")
        page.goto(f"{self.url}/admin/exports/erpexport/{export.id}/change/")
        return export

    def push(self, number: str, **fields: object) -> DraftOrder:
        """A new order, approved and pushed."""
        order = an_order(self.org, number, **fields)
        page = self.open_order(order)
        decide(page, "Approve")
        decide(page, "Push")
        return order

    def answer(self, name: str, **says: str) -> None:
        """The ERP writes a file into the ack folder."""
        acks = self.server.root / "acks"
        (acks / f"{name}.tmp").write_text(json.dumps(says))
        (acks / f"{name}.tmp").rename(acks / name)


@pytest.fixture
def stage(
    page: Page,
    live_server: LiveServer,
    child_env: dict[str, str],
    asyncssh_server: AsyncSSHServer,
    tmp_path: Path,
) -> Iterator[Stage]:
    org = an_org()
    for name, group in (("olivia", "Operator"), ("ann", "Approver")):
        user = User.objects.create_user(name, password=PASSWORD, is_staff=True)
        user.groups.add(Group.objects.get(name=group))
        Membership.objects.create(user=user, org=org)
    pictures = PICTURES if os.environ.get("PICTURES") else tmp_path
    with ExitStack() as stack:
        # Others use this server after us.
        stack.callback(asyncssh_server.restart, host_keys=asyncssh_server.host_keys)
        browser = page.context.browser
        assert browser
        approver = stack.enter_context(browser.new_context())
        approver.set_default_timeout(30_000)
        stack.enter_context(watched(page.context))
        stack.enter_context(watched(approver))
        stack.enter_context(worker(child_env | {"ACK_POLL_INTERVAL_SECONDS": "1"}))
        yield Stage(
            url=live_server.url,
            org=org,
            operator=log_in(page, live_server.url, "olivia"),
            approver=log_in(approver.new_page(), live_server.url, "ann"),
            server=asyncssh_server,
            pictures=pictures,
            erp_home=tmp_path / "erp",
        )


def state(page: Page) -> Locator:
    """What a page says, above its form, about the object."""
    return page.locator(".state").first


def decide(page: Page, name: str) -> None:
    """Use a button of a page that leads to a confirmation, and confirm."""
    state(page).get_by_role("link", name=f"{name}…", exact=True).click()
    page.get_by_role("button", name=name).click()
    expect(page.get_by_role("listitem").filter(has_text="was ").first).to_be_visible()


def content(page: Page) -> Locator:
    return page.locator("#content")


def eventually(place: Locator, text: str) -> None:
    """Look at a page again and again until it says this there."""
    for _ in range(120):
        if text in place.inner_text():
            return
        place.page.wait_for_timeout(500)
        place.page.reload()
    raise AssertionError(f"{place.page.url} does not say {text!r}:\n{place.inner_text()}")


def test_the_guide(stage: Stage) -> None:
    set_up_a_dropzone(stage)
    with stage.erp(UPSET, *RULES):
        order = approve_and_push(stage)
        many_orders_at_once(stage)
        silent = an_overdue_order(stage)
        the_dashboard(stage)
    with stage.erp(*RULES):
        many_failures(stage)
        a_refusal(stage)
        an_unmatched_ack(stage, silent)
        a_conflict(stage, order)
        a_paused_connection(stage)
    an_unknown_outcome(stage)
    shown = sorted(re.findall(r"\(images/guide/(.*?)\)", GUIDE.read_text()))
    for folder in (stage.pictures, PICTURES):
        assert sorted(path.name for path in folder.glob("*.png")) == shown


def run_test(page: Page) -> None:
    state(page).get_by_role("link", name="Test connection…").click()
    page.get_by_role("button", name="Test connection").click()


def set_up_a_dropzone(stage: Stage) -> None:
    page, server = stage.operator, stage.server
    page.goto(f"{stage.url}/admin/connectors/erpconnection/")
    page.get_by_role("link", name="Add ERP connection").click()
    page.get_by_label("Organisation:").select_option(label="Acme")
    page.get_by_label("Ack deadline:").fill("1 00:00:00")
    page.get_by_label("Mode:", exact=True).select_option(label="SFTP server")
    page.get_by_label("Host:").fill(server.host)
    page.get_by_label("Port:").fill(str(server.port))
    page.get_by_label("User name:").fill(server.username)
    page.get_by_label("Password:", exact=True).fill(str(server.password))
    page.get_by_label("Export folder:").fill("/exports")
    page.get_by_label("Ack folder:").fill("/acks")
    stage.picture(page, "connection-form")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("The connection is paused until its test passes")).to_be_visible()

    run_test(page)
    expect(page.get_by_text("The test failed.")).to_be_visible()
    failed = page.get_by_role("row").filter(has_text="HOST_KEY_UNKNOWN")
    expect(failed).to_contain_text("Compare the fingerprint")
    stage.picture(page, "test-failed")

    state(page).get_by_role("link", name="Pin host key…").click()
    expect(page.get_by_text("Shown by the server in the last test")).to_be_visible()
    stage.picture(page, "pin-host-key")
    page.get_by_role("button", name="Pin host key").click()
    expect(page.get_by_text("The host key was pinned.")).to_be_visible()

    run_test(page)
    expect(page.get_by_text("The connection works")).to_be_visible()
    stage.picture(page, "test-passed")


def approve_and_push(stage: Stage) -> DraftOrder:
    """Also by keyboard alone: no mouse is used here."""
    order = an_order(stage.org, "PO-4711", lines=2)
    page = stage.approver
    page.goto(f"{stage.url}/admin/orders/draftorder/")
    follow(page, page.get_by_role("link", name="PO-4711"))
    expect(state(page)).to_contain_text("ready")
    stage.picture(page, "order-ready")
    for decision, outcome in (("Approve", "was approved"), ("Push", "was pushed")):
        follow(page, page.get_by_role("link", name=f"{decision}…"))
        expect(page.get_by_text("1 order will be")).to_be_visible()
        if decision == "Push":
            stage.picture(page, "push")
        follow(page, page.get_by_role("button", name=decision))
        expect(page.get_by_text(outcome)).to_be_visible()
    stage.open_export(page, order)
    eventually(state(page), "In the ERP as SO-")
    expect(state(page)).to_contain_text("ERP number SO-000001")
    stage.picture(page, "export-acknowledged")
    return order


def follow(page: Page, target: Locator) -> None:
    """Reach something by the Tab key, where it must be seen to have the focus, and press Enter."""
    target.wait_for()
    for _ in range(100):
        page.keyboard.press("Tab")
        if target.evaluate("it => it === document.activeElement"):
            break
    assert target.evaluate("it => it.matches(':focus-visible')")
    before = page.url
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: url != before)


def many_orders_at_once(stage: Stage) -> None:
    for n in range(1, MANY + 1):
        an_order(stage.org, f"PO-{5000 + n}")
    twins = [an_order(stage.org, "PO-5100") for _ in range(2)]
    page = stage.approver
    page.goto(f"{stage.url}/admin/orders/draftorder/?status__exact=READY")
    page.get_by_label("Select all objects on this page for an action").check()
    page.get_by_role("button", name=f"Select all {MANY + 2} orders").click()
    page.get_by_label("Action:").select_option(label="Approve selected orders")
    page.get_by_role("button", name="Go").click()
    with transaction.atomic():
        # Somebody is at the last order just now, so the batch waits there.
        DraftOrder.objects.select_for_update(no_key=True).get(id=twins[-1].id)
        page.get_by_role("button", name=f"Approve {MANY + 2} orders").click()
        expect(figure(page, "Done")).to_have_text("50")
        expect(figure(page, "Waiting")).to_have_text("12")
        stage.picture(page, "batch-running")
    expect(state(page)).to_contain_text("finished")
    refused = page.get_by_role("row").filter(has_text="NEEDS_CONFIRMATION")
    expect(refused).to_contain_text("Approve 2 orders…")
    stage.picture(page, "batch-finished")
    page.get_by_role("link", name=f"Push {MANY} orders…").click()
    page.get_by_role("button", name=f"Push {MANY} orders").click()
    expect(state(page)).to_contain_text("finished")
    expect(figure(page, "Done")).to_have_text(str(MANY))


def figure(page: Page, name: str) -> Locator:
    """The number of that name in the progress of a batch."""
    return page.locator(".counts div").filter(has_text=name).locator("dd")


def the_dashboard(stage: Stage) -> None:
    page = stage.operator
    page.goto(f"{stage.url}/admin/")
    eventually(content(page), "9\norders not sent or refused by the ERP")
    expect(content(page)).to_contain_text("ack overdue")
    expect(page.get_by_role("img", name="Last 24 hours: ")).to_be_visible()
    stage.picture(page, "dashboard", highest=900)
    page.get_by_role("link", name="orders not sent or refused").click()
    expect(content(page)).to_contain_text("9 orders")

    page.goto(f"{stage.url}/admin/")
    page.get_by_label("Find an order").fill("SO-000001")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("link", name="PO-4711")).to_be_visible()
    expect(content(page)).to_contain_text("In the ERP as SO-000001")
    stage.picture(page, "search")


def many_failures(stage: Stage) -> None:
    page = stage.operator
    page.goto(f"{stage.url}/admin/exports/erpexport/")
    page.get_by_role("link", name="Failures by cause").click()
    expect(state(page)).to_contain_text("9 exports failed")
    stage.picture(page, "failures")
    state(page).get_by_role("link", name="Retry 9 orders…").click()
    expect(page.get_by_text("9 orders will be pushed again")).to_be_visible()
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_text("9 orders were pushed again.")).to_be_visible()
    page.goto(f"{stage.url}/admin/orders/draftorder/?q=PO-5009")
    eventually(content(page), "acknowledged")


def a_refusal(stage: Stage) -> None:
    wrong = Customer.objects.create(
        org=stage.org, name="Thornbury Dental Supplies Ltd", erp_customer_number=UNKNOWN_NUMBER
    )
    order = stage.push("PO-4715", customer=wrong)
    page = stage.open_order(order)
    eventually(state(page), "Customer 40001 is not known.")
    # The form of a page that was drawn while the answer came may still be closed.
    page.reload()
    expect(state(page)).to_contain_text("CUSTOMER_UNKNOWN")
    expect(state(page)).to_contain_text("the approval is cancelled")
    expect(state(page).get_by_role("link", name="Retry…")).to_be_visible()
    stage.picture(page, "order-refused")

    # The number of the customer is corrected, which cancels the approval.
    page.goto(f"{stage.url}/admin/orders/customer/{wrong.id}/change/")
    page.get_by_label("ERP customer number:").fill("40010")
    page.get_by_role("button", name="Save", exact=True).click()
    stage.open_order(order)
    expect(state(page)).to_contain_text("has changed since it was approved")
    decide(page, "Approve")
    decide(page, "Push")
    stage.open_export(page, order)
    eventually(state(page), "In the ERP as SO-")
    assert order.exports.count() == 2


def an_overdue_order(stage: Stage) -> DraftOrder:
    order = stage.push("PO-SILENT")
    page = stage.operator
    export = stage.open_export(page, order)
    eventually(state(page), "picked up")
    # A day goes by.
    day = timedelta(days=1, hours=1)
    ErpExport.objects.filter(id=export.id).update(
        sent_at=F("sent_at") - day, ack_due_at=F("ack_due_at") - day
    )
    page.goto(f"{stage.url}/admin/exports/erpexport/?overdue=yes")
    eventually(content(page), export.filename)
    page.get_by_role("link", name="PO-SILENT").click()
    expect(state(page)).to_contain_text("the ack is overdue")
    expect(state(page)).to_contain_text("Nothing is sent again by itself.")
    stage.picture(page, "export-overdue")
    return order


def an_unmatched_ack(stage: Stage, silent: DraftOrder) -> None:
    export = silent.exports.get()
    mistyped = f"ack_{export.filename.replace('.json', '_1.json')}"
    stage.answer(mistyped, status="ACKED", erp_order_id="SO-000777")
    stage.answer("ack_sales_order_test.json", status="ACKED", erp_order_id="1")
    page = stage.operator
    page.goto(f"{stage.url}/admin/exports/erpack/")
    eventually(content(page), "2 acks to review")
    page.get_by_role("link", name="Show only acks to review").click()
    page.get_by_role("link", name=mistyped).click()
    expect(state(page)).to_contain_text("No export of this connection has this name.")
    stage.picture(page, "ack-unmatched")
    state(page).get_by_role("link", name="Assign").click()
    page.get_by_role("radio", name=export.filename).check()
    page.get_by_label("Reason:").fill("The ERP admin says that its import mistyped the name.")
    page.get_by_role("button", name="Assign to an export").click()
    expect(page.get_by_role("button", name="Assign this ack")).to_be_visible()
    stage.picture(page, "ack-assign")
    page.get_by_role("button", name="Assign this ack").click()
    expect(page.get_by_text("The decision was recorded.")).to_be_visible()
    stage.open_export(page, silent)
    expect(state(page)).to_contain_text("SO-000777")

    page.goto(f"{stage.url}/admin/exports/erpack/?open=yes")
    page.get_by_role("link", name="ack_sales_order_test.json").click()
    state(page).get_by_role("link", name="Dismiss").click()
    page.get_by_label("Reason:").fill("A test of the ERP admin.")
    page.get_by_role("button", name="Dismiss").click()
    expect(page.get_by_text("The decision was recorded.")).to_be_visible()


def a_conflict(stage: Stage, order: DraftOrder) -> None:
    export = order.exports.get()
    contrary = f"error_{export.filename}"
    refusal = {"error_code": "CREDIT_LIMIT", "message": "The customer owes too much."}
    stage.answer(contrary, status="FAILED", **refusal)
    page = stage.operator
    page.goto(f"{stage.url}/admin/exports/erpack/?open=yes")
    eventually(content(page), contrary)
    page.get_by_role("link", name=contrary).click()
    expect(page.get_by_text("Counts now")).to_be_visible()
    stage.picture(page, "ack-conflict")
    state(page).get_by_role("link", name="Let the later ack count").click()
    page.get_by_label("Reason:").fill("The ERP admin has cancelled the order.")
    page.get_by_role("button", name="Let the later ack count").click()
    expect(page.get_by_text("The decision was recorded.")).to_be_visible()
    stage.open_order(order)
    expect(state(stage.approver)).to_contain_text("CREDIT_LIMIT")


def a_paused_connection(stage: Stage) -> None:
    stage.server.restart(host_keys=[new_key()])
    order = stage.push("PO-4720")
    page = stage.operator
    page.goto(stage.connection_url)
    eventually(state(page), "The server shows another host key than the pinned one.")
    expect(state(page)).to_contain_text("1 export")
    stage.picture(page, "connection-paused")
    stage.open_export(page, order)
    expect(state(page)).to_contain_text("Waiting: the connection is paused")

    # The ERP admin confirms the new key.
    page.goto(stage.connection_url)
    run_test(page)
    expect(page.get_by_text("HOST_KEY_CHANGED").first).to_be_visible()
    eventually(state(page), "Pin host key…")
    state(page).get_by_role("link", name="Pin host key…").click()
    expect(page.get_by_text("Pinned now")).to_be_visible()
    page.get_by_role("button", name="Pin host key").click()
    run_test(page)
    expect(page.get_by_text("The connection works")).to_be_visible()
    stage.open_export(page, order)
    eventually(state(page), "In the ERP as SO-")


def an_unknown_outcome(stage: Stage) -> None:
    page = stage.operator
    page.goto(stage.connection_url)
    page.get_by_label("Atomic write").uncheck()
    page.get_by_role("button", name="Save and continue editing").click()
    run_test(page)
    expect(page.get_by_text("The connection works")).to_be_visible()

    # The disk of the server is full in the middle of the file, and the ERP stands still.
    stage.server.faults.only = "sales_order"
    stage.server.faults.disk_full_after = 100
    order = stage.push("PO-4721")
    export = order.exports.get()
    page.goto(f"{stage.url}/admin/exports/erpexport/?needs_decision=yes")
    eventually(content(page), "PO-4721")
    page.get_by_role("link", name="PO-4721").click()
    expect(state(page)).to_contain_text("OUTCOME_UNKNOWN")
    stage.picture(page, "outcome-unknown")
    stage.server.faults.disk_full_after = None
    (stage.server.root / "exports" / export.filename).unlink()
    state(page).get_by_role("link", name="Resolve manually…").click()
    page.get_by_role("radio", name="It was not delivered").check()
    page.get_by_label("Reason:").fill("The ERP admin found half a file and removed it.")
    page.get_by_label("Push the order again now").check()
    page.get_by_label("File name:").fill(export.filename)
    stage.picture(page, "resolve")
    page.get_by_role("button", name="Resolve manually").click()
    expect(page.get_by_text("The export was resolved.")).to_be_visible()
    stage.open_export(page, order)
    eventually(state(page), "sent")
    with stage.erp(*RULES):
        eventually(state(page), "In the ERP as SO-")
