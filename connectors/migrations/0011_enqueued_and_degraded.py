from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("connectors", "0010_pause_has_code")]

    operations = [
        migrations.RenameField("erpconnection", "rung_at", "enqueued_at"),
        migrations.RenameField("erpconnection", "poll_rung_at", "poll_enqueued_at"),
        migrations.RenameField("erpconnection", "slow_since", "degraded_since"),
        migrations.RenameField("connectiontest", "rung_at", "enqueued_at"),
    ]
