from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("senders", "0004_returns")]

    operations = [
        migrations.AddField(
            "sendingdomain",
            "authentication",
            models.JSONField(db_default={}, default=dict),
        ),
    ]
