"""What anybody may read: the JSON Schemas of the files that are exchanged."""

from django.http import Http404, HttpRequest, JsonResponse
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from connectors.dropzone import schemas


@require_safe
@cache_control(public=True, max_age=3600)
def schema(request: HttpRequest, name: str) -> JsonResponse:
    if name not in schemas.STRUCTS:
        raise Http404
    return JsonResponse(
        schemas.json_schema(name),
        content_type="application/schema+json",
        json_dumps_params={"indent": 2},
    )
