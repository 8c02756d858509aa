"""The buttons of an object's page and the pages behind them follow from the same declarations."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group
from django.db.models import Model
from django.test import Client

from accounts.models import Org, User
from backoffice.actions import ObjectAction
from backoffice.pages import url_of
from tests.support.admin_pages import a_full_house
from tests.support.admins import a_member, logged_in, text
from tests.support.tables import tables

pytestmark = pytest.mark.django_db
ROLES = ("Viewer", "Approver", "Operator")


@pytest.fixture
def clients(dropzone_root: Path) -> list[Client]:
    root = a_full_house(dropzone_root)
    acme = Org.objects.get(slug="acme")
    members = [a_member(acme, role.lower(), role) for role in ROLES]
    return [logged_in(user) for user in (root, *members)]


def declared() -> Iterator[tuple[ObjectAction[Any], Model]]:
    """Each action with objects that it can be about."""
    for model, model_admin in admin.site._registry.items():
        for action in getattr(model_admin, "object_actions", ()):
            for obj in model._base_manager.filter(**_of_acme(model_admin))[:9]:
                yield action, obj


def _of_acme(model_admin: Any) -> dict[str, str]:
    return {f"{model_admin.org_path}__slug": "acme"}


def test_a_button_leads_to_its_page_and_no_permission_to_neither(clients: list[Client]) -> None:
    before, shown, pages = tables(), set(), {}
    for action, obj in declared():
        url = url_of(obj, action.name)
        for client in clients:
            change = url_of(obj)
            if (client, change) not in pages:
                pages[client, change] = text(client.get(change))
            status = client.get(url).status_code
            if f'href="{url}"' in pages[client, change]:
                assert status == 200, (url, status)
                shown.add(type(obj).__name__ + action.name)
            else:
                assert status in (200, 302, 403), (url, status)
    assert len(shown) >= 12
    assert tables() == before


def test_who_lacks_the_permission_has_neither_button_nor_page(clients: list[Client]) -> None:
    viewer = clients[1]
    assert Group.objects.get(name="Viewer").user_set.get() == User.objects.get(username="viewer")
    for action, obj in declared():
        url = url_of(obj, action.name)
        assert [viewer.get(url).status_code, viewer.post(url).status_code] == [403, 403], url
