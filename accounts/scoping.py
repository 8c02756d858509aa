"""Which objects a user may see, decided once for the admin and the API."""

from typing import TypeVar

from django.contrib.auth.models import AnonymousUser
from django.db.models import Model, QuerySet

from accounts.models import Org, User

M = TypeVar("M", bound=Model)


def visible_orgs(user: User | AnonymousUser) -> QuerySet[Org]:
    """The orgs that a user may see: all for a superuser, else those of the memberships."""
    if user.is_superuser:
        return Org.objects.all()
    return Org.objects.filter(memberships__user=user.pk)


def only_org(user: User | AnonymousUser) -> Org | None:
    """The org of a user who may see no other."""
    orgs = list(visible_orgs(user)[:2])
    return orgs[0] if len(orgs) == 1 else None


def visible(queryset: QuerySet[M], user: User | AnonymousUser, *, path: str = "org") -> QuerySet[M]:
    """Narrow a queryset to the orgs of a user; `path` leads from the model to its org."""
    if user.is_superuser:
        return queryset
    return queryset.filter(**{f"{path}__in": visible_orgs(user)})
