"""The JSON Schemas of the files that are exchanged with ERPs."""

from django.http import Http404, HttpRequest, JsonResponse
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from connectors.registry import json_schemas


@require_safe
@cache_control(public=True, max_age=3600)
def schema(request: HttpRequest, name: str) -> JsonResponse:
    if name not in json_schemas():
        raise Http404
    return JsonResponse(
        json_schemas()[name],
        content_type="application/schema+json",
        json_dumps_params={"indent": 2},
    )
