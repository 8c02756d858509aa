"""A second connector, with another transport and format, needs only a line in the registry."""

import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from accounts.models import Org, User
from connectors import circuit_breaker, registry
from connectors.checks import check_connectors
from connectors.configuring import create_connection
from connectors.models import ConnectionTest, DeliveryInstance, ErpConnection
from connectors.port import ConfigError, ERPConnectorPort, Session
from connectors.secrets import MASK
from exports.acks.poller import poll
from exports.connection_tests import run as run_test
from exports.connections import change_config
from exports.delivery import cleanup, protocol
from exports.delivery.protocol import deliver
from exports.models import ErpAck, ErpExport
from exports.resolution.manual import Resolution, resolve
from kernel.db import db_now
from kernel.errors import RuleViolation
from tests.support.api import client as api_client
from tests.support.api import error_at, person, post
from tests.support.builders import an_approved_order, some_exports
from tests.support.processes import ROOT
from tests.support.s3_dropzone import S3Session
from tests.support.servers import S3Server

pytestmark = pytest.mark.django_db

TYPE = "S3_CSV_V1"
PAGE = (ROOT / "docs/adding-a-connector.md").read_text()
CONNECTIONS = "/api/v1/erp-connections"


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    line = ("S3 bucket (CSV files)", "tests.support.s3_dropzone.S3CsvConnector")
    monkeypatch.setitem(registry.CONNECTORS, TYPE, line)


@pytest.fixture
def config(s3: S3Server, bucket: str) -> dict[str, str]:
    return {
        "endpoint_url": s3.endpoint_url,
        "bucket": bucket,
        "prefix": "orders",
        "ack_prefix": "acks",
        "access_key": s3.access_key,
        "secret_key": s3.secret_key,
    }


@pytest.fixture
def on_s3(org: Org, config: dict[str, str]) -> ErpConnection:
    made = create_connection(org, connector_type=TYPE, config=config)
    report = circuit_breaker.run_test(made)
    assert report.success, report.error
    made.refresh_from_db()
    return made


class Erp:
    """The other side: it lists the prefix, takes what it sees and answers."""

    def __init__(self, s3: S3Server, bucket: str) -> None:
        self._client = s3.client()
        self._bucket = bucket
        self.taken: Counter[tuple[str, bytes]] = Counter()

    def keys(self, prefix: str = "") -> list[str]:
        page = self._client.list_objects_v2(Bucket=self._bucket, Prefix=prefix)
        return [found["Key"] for found in page.get("Contents", ())]

    def take(self) -> None:
        for key in self.keys("orders/"):
            found = self._client.get_object(Bucket=self._bucket, Key=key)
            content = found["Body"].read()
            self._client.delete_object(Bucket=self._bucket, Key=key)
            self.taken[key.removeprefix("orders/"), content] += 1

    def answer(self, name: str, content: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=f"acks/{name}", Body=content)

    @contextmanager
    def taking_at_once(self) -> Iterator[None]:
        is_over = threading.Event()

        def watch() -> None:
            while not is_over.wait(0.001):
                self.take()

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield
        finally:
            is_over.set()
            watcher.join()
            self.take()


@pytest.fixture
def s3_erp(s3: S3Server, bucket: str) -> Erp:
    return Erp(s3, bucket)


def once(exports: list[ErpExport]) -> Counter[tuple[str, bytes | None]]:
    return Counter((export.filename, export.content) for export in exports)


def reloaded(export: ErpExport) -> ErpExport:
    return ErpExport.objects.select_related("draft_order").get(id=export.id)


class Crash(BaseException):
    """No handler catches it, so the effect is that of a SIGKILL."""


@contextmanager
def crash_after(step: str) -> Iterator[None]:
    def die(name: str) -> None:
        if name == step:
            raise Crash(name)

    with (
        mock.patch.object(protocol, "failpoint", autospec=True, side_effect=die),
        pytest.raises(Crash),
    ):
        yield


def test_the_registry_line_passes_the_system_check() -> None:
    assert check_connectors() == []


# The way of an order.


def test_an_order_goes_out_as_csv_and_its_answer_counts(
    on_s3: ErpConnection, org: Org, ann: User, s3_erp: Erp
) -> None:
    accepted, refused = some_exports(org, ann, 2)
    assert accepted.content == (
        b"customer,order,line,sku,quantity,unit\r\n4711,PO-0,1,INT-1,1.5,M\r\n"
    )
    assert accepted.export_storage_key.endswith(".csv")
    assert deliver(on_s3.id).sent == 2
    assert reloaded(accepted).sent_evidence == "OBSERVED"
    assert reloaded(accepted).dropzone_path == f"orders/{accepted.filename}"
    assert not s3_erp.keys("orders.staging/")
    s3_erp.take()
    assert s3_erp.taken == once([accepted, refused])

    s3_erp.answer(f"ack_{accepted.filename}", b"ACKED,SO-1\n")
    s3_erp.answer(f"error_{refused.filename}", b"FAILED,CREDIT,owes too much\n")
    s3_erp.answer("readme.txt", b"not ours")
    summary = poll(on_s3.id)
    assert (summary.classifications, summary.picked_up) == ({"APPLIED": 2}, 0)
    assert summary.moved == 2
    assert (reloaded(accepted).status, reloaded(accepted).erp_order_id) == ("ACKED", "SO-1")
    error = reloaded(refused).error_json
    assert error and (error["code"], error["erp_code"]) == ("ERP_REFUSED", "CREDIT")
    assert s3_erp.keys("acks/") == [
        f"acks/processed/ack_{accepted.filename}",
        f"acks/processed/error_{refused.filename}",
        "acks/readme.txt",
    ]


def test_an_answer_that_is_none_is_put_aside(
    on_s3: ErpConnection, org: Org, ann: User, s3_erp: Erp
) -> None:
    (export,) = some_exports(org, ann)
    deliver(on_s3.id)
    s3_erp.answer(f"ack_{export.filename}", b"accepted")
    poll(on_s3.id)
    ErpAck.objects.update(seen_at=db_now() - 2 * cleanup.MINIMUM_AGE)
    assert poll(on_s3.id).classifications == {"MALFORMED": 1}
    assert s3_erp.keys("acks/") == [f"acks/error/ack_{export.filename}"]
    assert reloaded(export).status == "SENT"


def test_what_the_erp_took_is_noted(on_s3: ErpConnection, org: Org, ann: User, s3_erp: Erp) -> None:
    (export,) = some_exports(org, ann)
    deliver(on_s3.id)
    assert poll(on_s3.id).picked_up == 0
    s3_erp.take()
    assert poll(on_s3.id).picked_up == 1
    assert reloaded(export).picked_up_at


# Exactly once.


@pytest.mark.parametrize("step", ["noted", "staged", "claimed", "published", "recorded"])
def test_a_crash_between_two_steps_with_an_eager_erp(
    on_s3: ErpConnection, org: Org, ann: User, s3_erp: Erp, step: str
) -> None:
    exports = some_exports(org, ann, 3)
    with crash_after(step):
        deliver(on_s3.id)
    s3_erp.take()
    deliver(on_s3.id)
    s3_erp.take()
    assert s3_erp.taken == once(exports)
    assert {reloaded(export).status for export in exports} == {"SENT"}
    cleanup.clean_up(minimum_age=-cleanup.MINIMUM_AGE)
    assert s3_erp.keys() == []


def test_an_erp_that_takes_files_at_once(
    on_s3: ErpConnection, org: Org, ann: User, s3_erp: Erp
) -> None:
    exports = some_exports(org, ann, 10)
    with s3_erp.taking_at_once():
        assert deliver(on_s3.id).sent == 10
    assert s3_erp.taken == once(exports)


@pytest.mark.parametrize("is_eager", [False, True])
def test_a_crash_in_the_midst_of_publishing_doubles_nothing(
    on_s3: ErpConnection, org: Org, ann: User, s3_erp: Erp, is_eager: bool
) -> None:
    """Between the copy and what tells of it: where the ERP is quicker, only a person can know."""
    (export,) = some_exports(org, ann)
    with (
        mock.patch.object(S3Session, "_discard", autospec=True, side_effect=Crash),
        pytest.raises(Crash),
    ):
        deliver(on_s3.id)
    if is_eager:
        s3_erp.take()
    deliver(on_s3.id)
    s3_erp.take()
    assert s3_erp.taken == once([export])
    if is_eager:
        assert reloaded(export).needs_decision
        resolve(export.id, Resolution.DELIVERED, actor=ann, reason="It is in the ERP.")
        assert reloaded(export).dropzone_path == f"orders/{export.filename}"
    assert reloaded(export).status == "SENT"


def test_a_worker_that_wakes_up_late_publishes_nothing_again(
    on_s3: ErpConnection, org: Org, ann: User, s3_erp: Erp
) -> None:
    """Another worker publishes, and the ERP takes, between this one's claim and its copy."""
    (export,) = some_exports(org, ann)
    moves = iter(["other"])

    def sleep(name: str) -> None:
        if name == "claimed" and next(moves, None):
            ErpConnection.objects.update(lease_until=None)
            assert deliver(on_s3.id).sent == 1
            s3_erp.take()

    with mock.patch.object(protocol, "failpoint", autospec=True, side_effect=sleep):
        deliver(on_s3.id)
    s3_erp.take()
    assert s3_erp.taken == once([export])


def test_a_name_that_is_taken_is_not_overwritten(
    on_s3: ErpConnection, org: Org, ann: User, s3: S3Server, bucket: str
) -> None:
    (export,) = some_exports(org, ann)
    key = f"orders/{export.filename}"
    with crash_after("claimed"):
        deliver(on_s3.id)
    s3.client().put_object(Bucket=bucket, Key=key, Body=b"somebody else's")
    deliver(on_s3.id)
    error = reloaded(export).error_json
    assert error and error["code"] == "NAME_CONFLICT"
    assert s3.client().get_object(Bucket=bucket, Key=key)["Body"].read() == b"somebody else's"
    s3.client().delete_object(Bucket=bucket, Key=key)
    ErpExport.objects.update(next_attempt_at=db_now())
    assert deliver(on_s3.id).sent == 1


# What is drawn from the fields that it declares.


def test_the_api_sets_it_up_and_a_worker_tests_it(org: Org, config: dict[str, str]) -> None:
    operator = api_client(person("oscar", org, "Operator"), org)
    wrong = post(operator, CONNECTIONS, {"connector_type": TYPE, "config": {"bucket": 1}})
    assert "/config/bucket" in error_at(wrong) and "/config/prefix" in error_at(wrong)
    response = post(operator, CONNECTIONS, {"connector_type": TYPE, "config": config})
    assert response.status_code == 201, response.content
    assert response.json()["config"] == config | {"secret_key": MASK}
    path = response["Location"]

    location = post(operator, f"{path}/test")["Location"]
    run_test(ConnectionTest.objects.get().id)
    result = operator.get(location).json()
    assert result["success"], result
    assert [step["name"] for step in result["steps"]] == [
        "reach",
        "write",
        "publish",
        "delete",
        "read acks",
    ]
    assert operator.get(path).json()["paused_at"] is None
    patched = operator.patch(path, {"config": {"ack_prefix": None}}, format="json")
    assert patched.json()["config"] == {
        name: MASK if name == "secret_key" else value
        for name, value in config.items()
        if name != "ack_prefix"
    }


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"secret_key": "wrong"}, "AUTH_FAILED"),
        ({"bucket": "no-such-bucket"}, "DIR_MISSING"),
        ({"endpoint_url": "http://127.0.0.1:1"}, "CONNECT_REFUSED"),
    ],
)
def test_a_failing_test_says_who_must_mend_what(
    org: Org, config: dict[str, str], s3_erp: Erp, changes: dict[str, str], code: str
) -> None:
    made = create_connection(org, connector_type=TYPE, config=config | changes)
    report = circuit_breaker.run_test(made)
    assert report.error and report.error.code == code
    assert s3_erp.keys() == []


def test_the_admin_draws_its_form(org: Org, config: dict[str, str], ann: User) -> None:
    ann.is_staff = True
    ann.save()
    ann.groups.add(Group.objects.get(name="Operator"))
    admin = Client()
    admin.force_login(ann)
    add = reverse("admin:connectors_erpconnection_add")
    page = admin.get(add, {"connector_type": TYPE}).content.decode()
    assert "Export prefix" in page and "Host" not in page
    form = {f"config_{name}": value for name, value in config.items()}
    own = {"org": org.id, "connector_type": TYPE, "active": "on"}
    refused = admin.post(add, {**own, **form, "config_bucket": ""})
    assert refused.context["adminform"].form.errors.keys() == {"config_bucket"}
    made = admin.post(add, {**own, **form}, follow=True)
    on_s3 = ErpConnection.objects.get()
    assert on_s3.config == config
    assert config["secret_key"] not in made.content.decode()

    change = reverse("admin:connectors_erpconnection_change", args=[on_s3.pk])
    kept = form | {"config_secret_key": "", "config_ack_prefix": "answers"}
    admin.post(change, {**own, **kept})
    on_s3.refresh_from_db()
    assert on_s3.config == config | {"ack_prefix": "answers"}


def test_its_documents_are_shown_and_given_out_as_they_are(
    on_s3: ErpConnection, org: Org, ann: User
) -> None:
    order = an_approved_order(org, ann, "PO-<b>")
    viewer = api_client(person("vera", org, "Viewer"), org)
    preview = viewer.get(f"/api/v1/draft-orders/{order.id}/preview")
    assert preview["Content-Type"] == "text/csv"
    (export,) = some_exports(org, ann, first=7)
    payload = viewer.get(f"/api/v1/erp-exports/{export.id}/payload")
    assert (payload["Content-Type"], payload.content) == ("text/csv", export.content)
    ann.is_staff = ann.is_superuser = True
    ann.save()
    admin = Client()
    admin.force_login(ann)
    page = admin.get(reverse("admin:exports_erpexport_change", args=[export.id]))
    assert "4711,PO-7,1,INT-1,1.5,M" in page.content.decode()
    page = admin.get(reverse("admin:orders_draftorder_preview", args=[order.id]))
    assert "4711,PO-&lt;b&gt;,1" in page.content.decode()


# What may be changed, and when.


def test_its_secret_does_not_follow_to_another_server(
    on_s3: ErpConnection, config: dict[str, str]
) -> None:
    moved = config | {"endpoint_url": "https://evil.example", "secret_key": MASK}
    with pytest.raises(ConfigError) as raised:
        change_config(on_s3, moved)
    assert raised.value.errors.keys() == {"secret_key"}


def test_its_dropzone_stays_while_exports_are_staged_there(
    on_s3: ErpConnection, config: dict[str, str], org: Org, ann: User
) -> None:
    some_exports(org, ann)
    with crash_after("claimed"):
        deliver(on_s3.id)
    with pytest.raises(ConfigError) as raised:
        change_config(on_s3, config | {"bucket": "another"})
    assert raised.value.errors.keys() == {"bucket"}


def test_giving_up_looks_where_the_file_was_put(
    on_s3: ErpConnection, config: dict[str, str], org: Org, ann: User, s3: S3Server
) -> None:
    first, second = some_exports(org, ann, 2)
    deliver(on_s3.id)
    with pytest.raises(RuleViolation, match="is still in the export folder"):
        resolve(first.id, Resolution.GIVEN_UP, actor=ann, reason="It is not processed.")
    s3.create_bucket("elsewhere")
    change_config(on_s3, config | {"bucket": "elsewhere"})
    resolve(second.id, Resolution.GIVEN_UP, actor=ann, reason="It is not processed.")
    seen = reloaded(second).events.get(kind="RESOLVED").detail["dropzone"]
    assert seen == "the connection leads to another dropzone by now"


def test_a_restored_ledger_learns_what_was_sent_and_answered(
    org: Org, ann: User, on_s3: ErpConnection, s3: S3Server, bucket: str
) -> None:
    exports = some_exports(org, ann, 3)
    deliver(on_s3.id)
    s3_erp = Erp(s3, bucket)
    lying, read, unread = exports
    s3_erp.answer(f"ack_{read.filename}", b"ACKED,4711")
    poll(on_s3.id)
    s3_erp.answer(f"ack_{unread.filename}", b"ACKED,4712")
    # The backup was made before all of this.
    ErpAck.objects.all().delete()
    ErpExport.objects.update(
        status="PENDING",
        staged_path=None,
        staged_at=None,
        destination=None,
        next_attempt_at=db_now(),
        erp_order_id=None,
        acked_at=None,
    )
    DeliveryInstance.objects.update(database="the lost one")
    call_command("reconcile", "--apply")
    statuses = [reloaded(export).status for export in (lying, read, unread)]
    assert statuses == ["SENT", "ACKED", "SENT"]
    assert reloaded(read).erp_order_id == "4711"


# The page that builds it.


def test_the_page_shows_the_connector_as_it_is() -> None:
    code = _unindented((ROOT / "tests/support/s3_dropzone.py").read_text())
    excerpts = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(excerpts) > 4
    for excerpt in excerpts:
        assert _unindented(excerpt) in code, excerpt


@pytest.mark.parametrize("port", [ERPConnectorPort, Session])
def test_the_page_has_every_method_of_the_port(port: type) -> None:
    methods = {name for name in vars(port) if not name.startswith("_")}
    assert methods
    assert {name for name in methods if f"`{name}`" not in PAGE} == set()


def _unindented(code: str) -> str:
    return "\n".join(line.strip() for line in code.splitlines())
