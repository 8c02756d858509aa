"""The page of failures: exports that need attention, grouped by cause."""

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext

from backoffice.pages import draw
from exports.models import ErpExport
from exports.reporting.failures import FailureGroup, failure_groups

if TYPE_CHECKING:
    from backoffice.scoping import ReadOnlyAdmin


def failures_view(model_admin: "ReadOnlyAdmin[ErpExport]", request: HttpRequest) -> HttpResponse:
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    groups = failure_groups(model_admin.get_queryset(request))
    return draw(
        model_admin,
        request,
        "admin/exports/erpexport/failures.html",
        title=gettext("Failures by cause"),
        groups=[(group, _exports_url(group), _retry_url(group)) for group in groups],
        may_retry=request.user.has_perm("orders.push_draftorder"),
    )


def _exports_url(group: FailureGroup) -> str:
    state = {"failure": "open"} if group.is_failed else {"needs_decision": "yes"}
    error = {"error": group.cause} if group.spec else {}
    query = urlencode({**state, **error, "erp_connection__id__exact": group.connection.pk})
    return f"{reverse('admin:exports_erpexport_changelist')}?{query}"


def _retry_url(group: FailureGroup) -> str:
    """Empty if the exports of the group need a decision one by one."""
    if not group.is_failed:
        return ""
    query = urlencode({"error": group.cause, "connection": group.connection.pk})
    return f"{reverse('admin:orders_draftorder_decide', args=['retry'])}?{query}"
