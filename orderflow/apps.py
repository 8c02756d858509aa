from django.contrib.admin.apps import AdminConfig


class OrderflowAdminConfig(AdminConfig):
    default_site = "accounts.login.OrderflowAdminSite"
