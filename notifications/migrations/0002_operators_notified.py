from django.db import migrations

from accounts.grants import grant


class Migration(migrations.Migration):
    dependencies = [
        ("notifications", "0001_initial"),
        ("exports", "0002_groups"),
    ]
    operations = [
        grant(
            "Operator",
            "notifications.view_webhook",
            "notifications.add_webhook",
            "notifications.change_webhook",
            "notifications.view_notification",
            "notifications.view_webhookattempt",
            "notifications.redeliver_notification",
            "notifications.receive_mail",
        )
    ]
