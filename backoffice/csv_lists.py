"""Lists of the admin as CSV files."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.utils.text import slugify

from backoffice.csv_files import csv_file
from kernel.keyset import read_by_key

if TYPE_CHECKING:
    from backoffice.scoping import OrgScopedAdmin

_ROWS_AT_ONCE = 2000


def csv_view(model_admin: "OrgScopedAdmin[Any]", request: HttpRequest) -> HttpResponseBase:
    """The list with the filters, the search and the order that the address names.

    The rows are read by key, some with each statement: none takes long, however many rows there
    are, and no cursor or transaction has to stay open, which PgBouncer would not allow.
    """
    if not model_admin.has_view_or_change_permission(request):
        raise PermissionDenied
    opts = model_admin.opts
    try:
        rows = model_admin.get_changelist_instance(request).queryset
    except IncorrectLookupParameters:
        # The list then says that the filters mean nothing.
        return redirect(f"{reverse(f'admin:{opts.app_label}_{opts.model_name}_changelist')}?e=1")
    pieces = csv_file(_table(model_admin, rows))
    # Made before the response begins: an error in the query still gets an error page.
    first = next(pieces)
    filename = f"{slugify(str(opts.verbose_name_plural))}-{timezone.now():%Y-%m-%d}.csv"
    return StreamingHttpResponse(
        chain([first], pieces),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": content_disposition_header(True, filename)},
    )


def _table(model_admin: "OrgScopedAdmin[Any]", rows: QuerySet[Any]) -> Iterator[Sequence[object]]:
    columns = model_admin.csv_columns
    yield list(columns)
    for row in read_by_key(rows, size=_ROWS_AT_ONCE):
        yield [column(row) for column in columns.values()]
