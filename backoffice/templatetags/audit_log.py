"""A template tag: the address of the audit log of an object."""

from typing import Any
from urllib.parse import urlencode

from django import template
from django.db.models import Model
from django.urls import reverse

from accounts.models import AuditEntry

register = template.Library()


@register.simple_tag(takes_context=True)
def audit_log_url(context: dict[str, Any], obj: Model) -> str:
    """The audit log of an object. Empty if it has no entries or the user may not see them."""
    which = {"object_type": obj._meta.label_lower, "object_id": str(obj.pk)}
    may_see = context["request"].user.has_perm("accounts.view_auditentry")
    if not may_see or not AuditEntry.objects.filter(**which).exists():
        return ""
    return f"{reverse('admin:accounts_auditentry_changelist')}?{urlencode(which)}"
