"""The service's URLs and views that do nothing: their time is part of every request."""

from django.http import HttpRequest, HttpResponse
from django.urls import path
from rest_framework.request import Request
from rest_framework.response import Response

from api.viewsets import OrgViewSet
from orderflow.urls import urlpatterns as of_the_service


class BareViewSet(OrgViewSet):
    """Requires a token and a permission, as every view of the API does."""

    permissions = {"list": "exports.view_erpexport"}

    def list(self, request: Request, **parents: str) -> Response:
        return Response({})


def nothing(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


urlpatterns = [
    path("nothing", nothing),
    path("api/bare", BareViewSet.as_view({"get": "list"})),
    *of_the_service,
]
