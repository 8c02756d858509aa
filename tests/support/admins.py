"""Clients that are logged in to the admin, and the objects that they view."""

import re
from html import unescape
from pathlib import Path
from typing import Any

from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import Org, User
from connectors.errors import ConnectorError
from connectors.models import ErpConnection
from exports.models import ErpAck, ErpExport
from tests.support.builders import a_user

CANARY = "canary-s3cret-8f1b"
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE8vC6FJqMvQmX5bL4hLJ7eIqyGZyS0iVb2ZC0mZpJtW"
OLD_HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPzZ1p7x9yq8oQ3V6n0sT4wK2rD5mH1cJ8bL7fG6eX9a"


def a_member(org: Org, name: str, group: str) -> User:
    """Someone of an org who may do what a group may."""
    user = a_user(org, name)
    user.groups.add(Group.objects.get(name=group))
    user.is_staff = True
    user.save(update_fields=["is_staff"])
    return user


def an_ack(connection: ErpConnection, classification: str, **fields: Any) -> ErpAck:
    """An ack, as a poll recorded it."""
    return ErpAck.objects.create(
        **{
            "org": connection.org,
            "erp_connection": connection,
            "filename": f"ack_{classification}.json",
            "sha256": "0",
            "raw": "{}",
            "is_accepted": True,
            "classification": classification,
            **fields,
        }
    )


def needs_a_decision(export: ErpExport, folder: Path) -> None:
    """Put an export into the state after an attempt with an unknown outcome."""
    ErpExport.objects.filter(id=export.id).update(
        attempts=1,
        next_attempt_at=None,
        staged_path=f"{folder}/{export.filename}.1.tmp",
        staged_at=timezone.now(),
        destination={"mode": "filesystem", "folder": str(folder)},
        error_json=ConnectorError("OUTCOME_UNKNOWN").as_json(),
    )


def logged_in(user: User, **how: Any) -> Client:
    client = Client(**how)
    client.force_login(user)
    return client


def page_url(name: str, *args: object) -> str:
    return reverse(f"admin:{name}", args=args)


def decide_url(decision: str) -> str:
    return page_url("orders_draftorder_decide", decision)


def text(response: Any) -> str:
    return str(response.content.decode())


def submitted(page: Any, **entered: str) -> dict[str, Any]:
    """Return the data that a confirmation page submits, with a person's input."""
    fields: dict[str, Any] = {}
    for name, value in re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', text(page)):
        fields.setdefault(name, []).append(unescape(value))
    return fields | entered


def messages(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]
