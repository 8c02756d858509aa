"""What the API's views share: they act within the org of a token, and can be asked twice."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from django.db import transaction
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.generics import get_object_or_404
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts import idempotency
from accounts.models import ApiToken, IdempotencyKey
from api.errors import entity_tag, require_match
from kernel.db import retried
from kernel.problems import Problem, WrongParameter

# In seconds: a worker takes up within about one what it is asked for.
RETRY_AFTER: Final = "1"
IDEMPOTENCY_KEY: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotent-Replayed"
_REPLAYED_HEADERS: Final = ("Location", "Retry-After", "ETag")
# The bare form, or the same in quotes.
_KEY: Final = re.compile(r'"([!#-~]{1,255})"|([!#-~]{1,255})')

P = ParamSpec("P")
V = TypeVar("V", bound="OrgViewSet")


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

    def tagged(self, obj: Any, *, status: int = 200, **headers: str) -> Response:
        """An answer that shows an object under its entity tag."""
        data = self.get_serializer(obj).data
        tag = entity_tag(self.versioned(data))
        return Response(data, status=status, headers={"ETag": tag, **headers})

    @contextmanager
    def as_read(self, *, lock: bool = False) -> Iterator[Any]:
        """The object; locked for the block if the client says by If-Match what it has read.

        Raises Http404, Problem (412).
        """
        alone = self.get_queryset().select_related(None).prefetch_related(None)
        if not lock and "If-Match" not in self.request.headers:
            # Nothing of it is shown: what belongs to it need not be read.
            yield get_object_or_404(alone, pk=self.kwargs["pk"])
            return
        with transaction.atomic():
            # First only locked: a query that waits for a row joins to it what was there before.
            get_object_or_404(alone.select_for_update(), pk=self.kwargs["pk"])
            locked = self.get_object()
            require_match(self.request, self.versioned(self.get_serializer(locked).data))
            yield locked


def idempotent(
    handler: Callable[Concatenate[V, Request, P], Response],
) -> Callable[Concatenate[V, Request, P], HttpResponseBase]:
    """Let a client repeat what it asked for under the same Idempotency-Key.

    The answer is stored with the deed, and whoever asks at the same time waits for it. What was
    refused has changed nothing: it is not stored, and may succeed when it is asked for again.
    """

    @retried
    def once(view: V, request: Request, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        with transaction.atomic():
            stored, is_new = idempotency.begin(
                view.token.org, key=_key(request), request_sha256=_digest(request)
            )
            if not is_new:
                return _replayed(stored, request)
            response = handler(view, request, *args, **kwargs)
            stored.status = response.status_code
            stored.headers = {n: response[n] for n in _REPLAYED_HEADERS if n in response}
            stored.body = JSONRenderer().render(response.data).decode()
            stored.save(update_fields=["status", "headers", "body"])
        return response

    @wraps(handler)
    def action(view: V, request: Request, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        may_repeat = IDEMPOTENCY_KEY in request.headers
        return (once if may_repeat else handler)(view, request, *args, **kwargs)

    action.is_idempotent = True  # type: ignore[attr-defined]
    return action


def _replayed(stored: IdempotencyKey, request: Request) -> HttpResponse:
    if stored.request_sha256 != _digest(request):
        raise Problem(
            422,
            "idempotency_key_reused",
            "This Idempotency-Key came with another request. Take a new key for a new request.",
        )
    return HttpResponse(
        stored.body,
        status=stored.status,
        content_type="application/json",
        headers={**stored.headers, REPLAYED: "true"},
    )


def _key(request: Request) -> str:
    match = _KEY.fullmatch(request.headers[IDEMPOTENCY_KEY].strip())
    if match is None:
        reason = "Send 1 to 255 visible ASCII characters, in quotes or without."
        raise WrongParameter({IDEMPOTENCY_KEY: reason})
    return match[1] or match[2]


def _digest(request: Request) -> str:
    """What tells one request from another: its method, its path and what its body says."""
    said = [request.method, request.path.rstrip("/"), request.data]
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()
