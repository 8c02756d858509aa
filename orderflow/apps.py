from django.contrib.admin.apps import AdminConfig


class OrderflowAdminConfig(AdminConfig):
    default_site = "exports.site.OrderflowAdminSite"
