"""The admin as the members of each group see it."""

import html
import re
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
from django.contrib.admin.templatetags.admin_urls import admin_urlname
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEntry, Membership, Org, User
from connectors.configuring import create_connection
from connectors.models import ErpConnection
from exports.models import Batch, ErpAck, ErpExport
from orders.models import Customer, DraftOrder
from tests.support.admin_pages import a_full_house, addresses
from tests.support.builders import an_order, an_org
from tests.support.servers.keys import new_key, public_line

pytestmark = pytest.mark.django_db

CONFIG = {"mode": "sftp", "host": "erp.example", "username": "u", "password": "p"}
CONFIG |= {"export_path": "/out", "host_keys": []}
PEOPLE = ("Approver", "Operator", "Viewer", "Auditor")


def login(group: str, *orgs: Org) -> Client:
    user = User.objects.create_user(group.lower(), is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    Membership.objects.bulk_create(Membership(user=user, org=org) for org in orgs)
    client = Client()
    client.force_login(user)
    return client


def content(client: Client, url: str, status: int = 200) -> str:
    """What a page says inside its frame."""
    response = client.get(url)
    assert response.status_code == status, url
    _, _, rest = response.content.decode().partition('id="content"')
    return " ".join(html.unescape(rest).split())


def test_the_page_of_an_app_lists_what_one_may_see_there() -> None:
    page = content(login("Viewer", an_org()), "/admin/exports/")
    assert "ERP exports" in page
    assert "No worker" not in page
    assert "Nothing needs your attention" not in page


def test_who_may_not_see_a_page_is_told_so_and_led_back() -> None:
    client = login("Viewer", an_org())
    assert "Not allowed" in content(client, "/admin/accounts/user/", 403)
    assert 'href="/admin/"' in content(client, "/admin/connectors/erpconnection/add/", 403)
    assert "Page not found" in content(client, "/admin/nothing/", 404)
    assert 'href="/admin/"' in content(Client(), "/nothing", 404)


def test_the_dashboard_is_not_quiet_for_who_sees_nothing() -> None:
    org = an_org()
    nothing = "You have no access yet"
    without_group = User.objects.create_user("new", is_staff=True)
    Membership.objects.create(user=without_group, org=org)
    client = Client()
    client.force_login(without_group)
    for blind in (client, login("Viewer")):
        page = content(blind, "/admin/")
        assert nothing in page
        assert "Nothing needs your attention" not in page
    assert nothing not in content(login("Approver", org), "/admin/")
    client.force_login(User.objects.create_superuser("root"))
    Membership.objects.all().delete()
    assert nothing not in content(client, "/admin/")


@pytest.mark.parametrize("group", PEOPLE)
def test_no_link_leads_to_what_is_forbidden(group: str, dropzone_root: Path) -> None:
    a_full_house(dropzone_root)
    client = login(group, *Org.objects.all())
    pages = {url: client.get(url) for _, urls in addresses() for url in urls}
    links = {
        (urlsplit(urljoin(url, link)).path, url)
        for url, page in pages.items()
        if page.status_code == 200 and "text/html" in page["Content-Type"]
        for link in re.findall(r'<a [^>]*href="([^"]+)"', page.content.decode())
    }
    assert [link for link in links if link[0] in pages and pages[link[0]].status_code == 403] == []


@pytest.mark.parametrize("group", ["Viewer", "Auditor"])
def test_history_buttons_lead_to_some(group: str, dropzone_root: Path) -> None:
    a_full_house(dropzone_root)
    client = login(group, *Org.objects.all())
    log = reverse("admin:accounts_auditentry_changelist")
    for model in (DraftOrder, Customer, ErpConnection, ErpExport, ErpAck):
        for obj in model.objects.all():
            page = content(client, reverse(admin_urlname(obj._meta, "change"), args=[obj.pk]))
            entries = AuditEntry.objects.filter(object_id=str(obj.pk))
            is_told = group == "Auditor" and entries.exists()
            assert (f'"{log}?' in page) == is_told, obj
            assert ("historylink" in page) == (model not in (ErpExport, ErpAck)), obj


def test_who_has_one_org_need_not_choose_it_nor_read_it_in_each_row() -> None:
    org, other = an_org(), an_org("other")
    one, both = login("Approver", org), login("Operator", org, other)
    chosen = f'<option value="{org.pk}" selected>'
    assert chosen in content(one, "/admin/orders/draftorder/add/")
    assert '<option value="" selected>' in content(both, "/admin/connectors/erpconnection/add/")
    for client, has_column in ((one, False), (both, True)):
        Customer.objects.create(org=org, name="Muster GmbH")
        assert ("column-org" in content(client, "/admin/orders/customer/")) == has_column


def test_the_audit_log_is_filtered_by_org_only_where_there_are_several() -> None:
    org, log = an_org(), "/admin/accounts/auditentry/"
    auditor = login("Auditor", org)
    assert "org__" not in content(auditor, log)
    Membership.objects.create(user=User.objects.get(), org=an_org("other"))
    page = content(auditor, log)
    assert "org__id__exact" in page
    assert "org__isnull" not in page


def test_a_batch_says_what_can_follow_to_who_may_do_it(dropzone_root: Path) -> None:
    a_full_house(dropzone_root)
    acme = Org.objects.get(slug="acme")
    finished = Batch.objects.get(finished_at__isnull=False, cancelled_at=None)
    url = reverse("admin:exports_batch_change", args=[finished.pk])
    assert "Next step" in content(login("Approver", acme), url)
    assert "Next step" not in content(login("Viewer", acme), url)


def test_filters_are_called_what_they_are_about() -> None:
    orgs = [an_org("acme"), an_org("other")]
    for org in orgs:
        create_connection(org, connector_type="DROPZONE_JSON_V1", config=CONFIG)
    client = login("Viewer", *orgs)
    for model, titles in (
        ("erpexport", ["Needs a decision", "ERP connection"]),
        ("erpack", ["To review", "ERP connection"]),
        ("batch", ["Organisation"]),
    ):
        page = content(client, f"/admin/exports/{model}/")
        assert [title for title in titles if f"<summary> {title} </summary>" not in page] == []


def test_a_configuration_is_told_in_words_to_who_may_not_change_it() -> None:
    org = an_org()
    config = {**CONFIG, "host_keys": [public_line(new_key())], "atomic_write": False}
    erp = create_connection(org, connector_type="DROPZONE_JSON_V1", config=config)
    url = reverse("admin:connectors_erpconnection_change", args=[erp.pk])
    page = content(login("Viewer", org), url)
    for name, value in (
        ("Mode", "SFTP server"),
        ("Atomic write", "no"),
        ("Pinned host keys", config["host_keys"][0]),
    ):
        assert f"<dt>{name}</dt><dd>{value}</dd>" in page
    assert "<dt>Password</dt><dd>One is set, since" in page


def test_who_has_several_orgs_reads_whose_each_order_is() -> None:
    org, other = an_org(), an_org("other")
    one, both = login("Viewer", org), login("Approver", org, other)
    for owner in (org, other):
        an_order(owner)
    whose = '<span class="quiet">Other</span>'
    assert whose not in content(one, "/admin/orders/draftorder/")
    assert whose in content(both, "/admin/orders/draftorder/")
