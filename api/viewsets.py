"""The views of a resource: they act within the organisation of a token."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.db import transaction
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.models import ApiToken
from api.entity_tags import entity_tag, require_match

# In seconds: a worker takes up within about one what it is asked for.
RETRY_AFTER: Final = "1"


class OrgViewSet(GenericViewSet[Any]):
    """Objects of one org. Every action declares its permission in `permissions`.

    `orderings` and `has_changes`: how lists may be ordered and followed, see KeysetPagination.
    `is_versioned`: objects have entity tags, and what is asked of them may depend on these.
    """

    http_method_names = ["get", "head", "post", "put", "patch"]
    permissions: dict[str, str] = {}
    orderings: tuple[str, ...] = ("-created_at", "created_at", "-updated_at", "updated_at")
    has_changes = False
    is_versioned = False

    @property
    def token(self) -> ApiToken:
        """The token of this request: its org bounds what is seen, its user what may be done."""
        assert isinstance(self.request.auth, ApiToken)
        return self.request.auth

    def list(self, request: Request, **parents: str) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def get_object(self) -> Any:
        """The object under this path. Raises Http404, for objects of other orgs too."""
        return get_object_or_404(self.get_queryset(), pk=self.kwargs["pk"])

    def versioned(self, data: Any) -> Any:
        """The part of an object's data that its entity tag covers."""
        return data

    def with_etag(self, obj: Any, *, status: int = 200, **headers: str) -> Response:
        """An answer that shows an object under its entity tag."""
        data = self.get_serializer(obj).data
        tag = entity_tag(self.versioned(data))
        return Response(data, status=status, headers={"ETag": tag, **headers})

    @contextmanager
    def with_if_match(self, *, lock: bool = False) -> Iterator[Any]:
        """The object; locked for the block if the client says by If-Match what it has read.

        Raises Http404, Problem (412).
        """
        alone = self.get_queryset().select_related(None).prefetch_related(None)
        if not lock and "If-Match" not in self.request.headers:
            # Nothing of it is shown: what belongs to it need not be read.
            yield get_object_or_404(alone, pk=self.kwargs["pk"])
            return
        with transaction.atomic():
            # Lock only here, and read in the next query: one that waited for a lock sees old rows.
            get_object_or_404(alone.select_for_update(), pk=self.kwargs["pk"])
            locked = self.get_object()
            require_match(self.request, self.versioned(self.get_serializer(locked).data))
            yield locked
