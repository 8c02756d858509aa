from django.db import migrations

from accounts.grants import grant


class Migration(migrations.Migration):
    dependencies = [("exports", "0006_acks")]
    operations = [grant("Operator", "exports.decide_erpack")]
