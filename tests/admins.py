"""People who look at the admin, as clients of it."""

from typing import Any

from django.contrib.auth.models import Group
from django.test import Client

from accounts.models import Org, User
from tests.builders import a_user


def a_member(org: Org, name: str, group: str) -> User:
    """Someone of an org who may do what a group may."""
    user = a_user(org, name)
    user.groups.add(Group.objects.get(name=group))
    user.is_staff = True
    user.save(update_fields=["is_staff"])
    return user


def logged_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def text(response: Any) -> str:
    return str(response.content.decode())


def messages(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]
