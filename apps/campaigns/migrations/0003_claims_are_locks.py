"""A claim is a lock on the row, no status: what was claimed by it is queued again."""

from __future__ import annotations

from django.db import migrations, models

QUEUE_CLAIMED = """
UPDATE campaigns_delivery SET status = 'queued', token = NULL, lease_until = NULL
WHERE lease_until IS NOT NULL AND status = 'claimed'
"""


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0002_engine")]

    operations = [
        migrations.RunSQL(QUEUE_CLAIMED, migrations.RunSQL.noop),
        migrations.AlterField(
            "delivery",
            "status",
            models.CharField(
                choices=[
                    ("queued", "Queued"),
                    ("handing_off", "Being handed over"),
                    ("sent", "Accepted by the server"),
                    ("deferred", "Waiting for another attempt"),
                    ("failed", "Failed"),
                    ("unknown", "Unknown"),
                    ("suppressed", "Suppressed"),
                    ("cancelled", "Cancelled"),
                ],
                default="queued",
                max_length=11,
            ),
        ),
    ]
