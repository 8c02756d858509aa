"""The app of the admin pages, without models: Django finds admin classes and tags by it."""

from django.apps import AppConfig


class BackofficeConfig(AppConfig):
    name = "backoffice"
    verbose_name = "Admin pages"
