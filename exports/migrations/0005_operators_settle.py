from django.db import migrations

from accounts.grants import grant


class Migration(migrations.Migration):
    dependencies = [("exports", "0004_settle")]
    operations = [grant("Operator", "exports.settle_erpexport")]
