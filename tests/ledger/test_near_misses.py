"""Files with almost the name of an ack: each is reported to people, and none is moved."""

import json
from typing import Any
from uuid import UUID

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from accounts.models import Org, User
from connectors.dropzone import naming
from connectors.models import ErpConnection
from exports.acks import review, unmatched
from exports.acks.poller import poll
from exports.delivery.protocol import deliver
from exports.models import ErpAck, ErpExport
from tests.support.builders import a_connection, a_user, an_org, some_exports
from tests.support.dropzones import Dropzone

NAME = "sales_order_550e8400_20251227_100000_abc12345.json"
STEM = NAME.removesuffix(".json")
FULL = NAME.replace("550e8400", "550e8400-e29b-41d4-a716-446655440000")


@pytest.mark.parametrize(
    ("listed", "meant"),
    [
        (f"ack_{NAME.replace('order', 'oder')}", f"ack_{NAME}"),
        (f"ak_{NAME}", f"ack_{NAME}"),
        (f"ACK_{NAME}", f"ack_{NAME}"),
        (f"Ack_{NAME}", f"ack_{NAME}"),
        (f"ack_{NAME}".upper(), f"ack_{NAME}"),
        (f"ack-{NAME}", f"ack_{NAME}"),
        (f"ack {NAME}", f"ack_{NAME}"),
        (f"ack{NAME}", f"ack_{NAME}"),
        (f"ack_{NAME.replace('_', '-')}", f"ack_{NAME}"),
        (f"ack_{STEM}.JSON", f"ack_{NAME}"),
        (f"ack_{STEM}.txt", f"ack_{NAME}"),
        (f"ack_{STEM}.xml", f"ack_{NAME}"),
        (f"ack_{STEM}", f"ack_{NAME}"),
        (f"ack_{NAME}.txt", f"ack_{NAME}"),
        (f"ack_{NAME} ", f"ack_{NAME}"),
        (f"ack_{FULL}.txt", f"ack_{NAME}"),
        (f"ack_{NAME.removeprefix('sales_order_')}", f"ack_{NAME}"),
        (f"sales_order_ack_{NAME.removeprefix('sales_order_')}", f"ack_{NAME}"),
        (f"{STEM}_ack.json", f"ack_{NAME}"),
        (f"{NAME}.ack", f"ack_{NAME}"),
        (f"ok_{NAME}", f"ack_{NAME}"),
        (f"eror_{NAME}", f"error_{NAME}"),
        (f"ERROR_{NAME}", f"error_{NAME}"),
        (f"err_{NAME}", f"error_{NAME}"),
        (f"{STEM}.error", f"error_{NAME}"),
        (f"nack_{NAME}", f"error_{NAME}"),
    ],
)
def test_the_name_that_was_meant(listed: str, meant: str) -> None:
    assert naming.parse_ack_filename(listed) is None
    assert naming.intended_ack_filename(listed) == meant
    assert naming.parse_ack_filename(meant)


@pytest.mark.parametrize(
    "listed",
    [
        "ack_.json",
        "ack_PO-4711.json",
        "ERROR_4711.JSON",
        "ack_sales_oder_550e840_20251227_100000_abc12345.json",
        "ack_sale_order_1.xml",
        "Ack-Sales-Order-4711.txt",
        "error_sales_ordr_4711.json",
    ],
)
def test_names_of_which_it_cannot_be_told_what_is_meant(listed: str) -> None:
    assert naming.intended_ack_filename(listed) == listed


@pytest.mark.parametrize(
    "listed",
    [
        # Answers, exports, and what a program is still writing.
        f"ack_{NAME}",
        f"error_{FULL}",
        "ack_sales_order_typo.json",
        NAME,
        NAME.upper(),
        f"{NAME}.a1b2c3d4.tmp",
        f"{NAME}.done",
        f"ack_{NAME}.tmp",
        f"ack_{NAME}.part",
        f"ACK_{NAME}.filepart",
        f".ack_{NAME}",
        f"ack_{NAME}~",
        # Of other programs.
        "readme.txt",
        "error.log",
        "errors_2025.csv",
        "ack.log",
        "ack_report_2025.csv",
        "acknowledgements.xlsx",
        "sales_orders_2025.csv",
        "sales_report.json",
        "package.json",
        "20251227_100000.json",
        "550e8400-e29b-41d4-a716-446655440000.json",
        # Of no use on a page.
        "ack_new\nline.json",
        "ack_\u202egnp.json",
        "ack_\udce4.json",
        "ack_" + "a" * 250 + ".json",
    ],
)
def test_names_that_are_no_near_misses(listed: str) -> None:
    assert naming.intended_ack_filename(listed) is None


# In a real folder.


def page(client: Client, name: str, *args: UUID) -> str:
    response = client.get(reverse(f"admin:{name}", args=args))
    assert response.status_code == 200
    return str(response.content.decode())


def write(dropzone: Dropzone, name: str, number: str = "SO-1") -> None:
    (dropzone.acks / name).write_text(json.dumps({"status": "ACKED", "erp_order_id": number}))


def misspelt(export: ErpExport) -> str:
    return f"ack_{export.filename.replace('order', 'oder')}"


@pytest.mark.django_db
@pytest.mark.ledger
def test_a_near_miss_is_recorded_once_and_left_alone(
    dropzone: Dropzone, erp: ErpConnection, three_sent: list[ErpExport]
) -> None:
    write(dropzone, misspelt(three_sent[1]), "SO-7")
    for _ in range(3):
        assert poll(erp.id).near_misses == 1
    (ack,) = ErpAck.objects.all()
    assert (ack.classification, ack.export, ack.erp_order_id) == ("UNMATCHED", None, "SO-7")
    assert f"Expected: ack_{three_sent[1].filename}." in ack.reason
    assert (dropzone.acks / misspelt(three_sent[1])).exists()
    assert {export.status for export in ErpExport.objects.all()} == {"SENT"}
    assert review.candidates(ack)[0] == three_sent[1]


@pytest.mark.django_db
@pytest.mark.ledger
@pytest.mark.parametrize("decision", ["assign", "dismiss"])
def test_what_a_person_decides_about_a_near_miss(
    dropzone: Dropzone, erp: ErpConnection, three_sent: list[ErpExport], oskar: User, decision: str
) -> None:
    name = f"ACK_{three_sent[2].filename}".upper()
    write(dropzone, name, "SO-7")
    poll(erp.id)
    ack = ErpAck.objects.get()
    assert review.candidates(ack)[0] == three_sent[2]
    if decision == "assign":
        review.assign(ack.id, three_sent[2].id, actor=oskar, reason="It is theirs")
        three_sent[2].refresh_from_db()
        assert (three_sent[2].status, three_sent[2].erp_order_id) == ("ACKED", "SO-7")
    else:
        review.dismiss(ack.id, actor=oskar, reason="A test of theirs")
    assert poll(erp.id).moved == 1
    assert [path.name for path in dropzone.acks.iterdir() if path.is_file()] == []
    assert (dropzone.acks / "processed" / name).exists()


@pytest.mark.django_db
def test_pages_count_and_name_near_misses(
    dropzone: Dropzone, erp: ErpConnection, three_sent: list[ErpExport], operator_client: Client
) -> None:
    names = [misspelt(three_sent[0]), f"Ack_{three_sent[1].filename}", "ack_PO-4711.json"]
    for name in names:
        write(dropzone, name)
    poll(erp.id)
    connection = page(operator_client, "connectors_erpconnection_change", erp.id)
    listed = page(operator_client, "exports_erpack_changelist")
    assert "3 files in the ack folder" in connection
    assert "3 acks to review." in listed
    start = page(operator_client, "index")
    assert "acks match no export" in start
    for name in names:
        assert name in start
        assert name in connection
        assert name in listed
    ack = ErpAck.objects.get(filename="ack_PO-4711.json")
    shown = page(operator_client, "exports_erpack_change", ack.id)
    assert "Expected: ack_ or error_ and the name of the order" in shown
    assert reverse("admin:exports_erpack_assign", args=[ack.id]) in shown


@pytest.mark.django_db
def test_the_command_counts_them_in_each_round(
    dropzone: Dropzone, erp: ErpConnection, three_sent: list[ErpExport], capsys: Any
) -> None:
    write(dropzone, misspelt(three_sent[0]))
    write(dropzone, "readme.txt")
    for told in (
        "1 unmatched, 1 named almost like an ack, 1 not ours",
        "1 named almost like an ack",
    ):
        call_command("poll_acks")
        assert told in capsys.readouterr().out


@pytest.mark.django_db
def test_a_folder_full_of_them_does_not_fill_the_table(
    dropzone: Dropzone,
    erp: ErpConnection,
    three_sent: list[ErpExport],
    operator_client: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unmatched, "NEAR_MISSES_KEPT", 12)
    for number in range(40):
        write(dropzone, f"ack_PO-{number}.json")
    write(dropzone, f"ack_{three_sent[0].filename}", "SO-1")
    write(dropzone, "ack_sales_order_typo.json")
    for _ in range(3):
        assert poll(erp.id).near_misses == 40
    # Answers, and those that only match no export, are read whatever else is there.
    three_sent[0].refresh_from_db()
    assert three_sent[0].status == "ACKED"
    assert ErpAck.objects.filter(filename="ack_sales_order_typo.json").exists()
    assert ErpAck.objects.filter(classification="UNMATCHED").count() <= 13
    connection = page(operator_client, "connectors_erpconnection_change", erp.id)
    assert connection.count("Expected: ack_ or error_") <= 10
    assert "the latest:" in connection


@pytest.mark.django_db
def test_a_near_miss_of_another_connection_is_not_read(
    dropzone: Dropzone, erp: ErpConnection, three_sent: list[ErpExport]
) -> None:
    rival = a_connection(an_org("rival"), dropzone.config)
    write(dropzone, misspelt(three_sent[0]))
    summary = poll(rival.id)
    assert (summary.near_misses, summary.foreign) == (0, 1)
    assert not ErpAck.objects.exists()


@pytest.mark.django_db
def test_exports_in_the_same_folder_are_no_near_misses(dropzone: Dropzone, org: Org) -> None:
    config = {**dropzone.config, "ack_path": dropzone.config["export_path"]}
    erp = a_connection(org, config)
    some_exports(org, a_user(org), 2)
    assert deliver(erp.id).sent == 2
    summary = poll(erp.id)
    assert (summary.near_misses, summary.foreign) == (0, 2)
