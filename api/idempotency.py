"""Requests with an Idempotency-Key: a repeated request gets the answer of the first one."""

import hashlib
import json
import re
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, Final, ParamSpec, TypeVar

from django.db import transaction
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import idempotency
from accounts.models import IdempotencyKey
from api.viewsets import OrgViewSet
from kernel.db import retried
from kernel.problems import Problem, WrongParameter

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotent-Replayed"
_REPLAYED_HEADERS: Final = ("Location", "Retry-After", "ETag")
# The bare form, or the same in quotes.
_KEY: Final = re.compile(r'"([!#-~]{1,255})"|([!#-~]{1,255})')

P = ParamSpec("P")
V = TypeVar("V", bound=OrgViewSet)


def idempotent(
    handler: Callable[Concatenate[V, Request, P], Response],
) -> Callable[Concatenate[V, Request, P], HttpResponseBase]:
    """Let a client repeat what it asked for under the same Idempotency-Key.

    The response is stored in the transaction of the change, and a simultaneous repetition waits for
    it. An error is not stored: nothing was changed, and a repetition may succeed.
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
            _("This Idempotency-Key was used for another request. Use a new key for each request."),
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
