"""Lists of the admin, given out as CSV files."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, ClassVar

from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.utils.text import slugify

from backoffice.csv_files import csv_file
from backoffice.scoping import OrgScopedAdmin
from kernel.keyset import read_by_key

_ROWS_AT_ONCE = 2000


class CsvAdmin(OrgScopedAdmin):
    """Gives out its list, with the filters, the search and the order that it is looked at with.

    The rows are read by key, some with each statement: none takes long, however many rows there
    are, and no cursor or transaction has to stay open, which PgBouncer would not allow.
    """

    csv_columns: ClassVar[Mapping[str, Callable[[Any], object]]]

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.csv_view)
        name = f"{self.opts.app_label}_{self.opts.model_name}_csv"
        return [path("csv/", view, name=name), *super().get_urls()]

    def csv_view(self, request: HttpRequest) -> HttpResponseBase:
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        try:
            rows = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters:
            # The list says then that the filters mean nothing.
            name = f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"
            return redirect(f"{reverse(name)}?e=1")
        pieces = csv_file(self._table(rows))
        # Made before the answer begins: what goes wrong with the query still has an error page.
        first = next(pieces)
        filename = f"{slugify(str(self.opts.verbose_name_plural))}-{timezone.now():%Y-%m-%d}.csv"
        return StreamingHttpResponse(
            chain([first], pieces),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": content_disposition_header(True, filename)},
        )

    def _table(self, rows: QuerySet[Any]) -> Iterator[Sequence[object]]:
        yield list(self.csv_columns)
        for row in read_by_key(rows, size=_ROWS_AT_ONCE):
            yield [column(row) for column in self.csv_columns.values()]
