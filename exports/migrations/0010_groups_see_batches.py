from django.db import migrations

from accounts.grants import grant


class Migration(migrations.Migration):
    dependencies = [("exports", "0009_batches")]
    operations = [
        grant(group, "exports.view_batch", "exports.view_batchitem")
        for group in ("Viewer", "Approver", "Operator", "Integration")
    ]
