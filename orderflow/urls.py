"""The URLs of the service: the admin, and those of the API."""

from django.contrib import admin
from django.urls import include, path

handler400 = "orderflow.error_pages.bad_request"

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("api.urls")),
]
