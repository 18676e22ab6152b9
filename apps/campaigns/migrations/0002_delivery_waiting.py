from django.db import migrations, models

REPLACE = """
DROP INDEX delivery_in_motion;
CREATE INDEX delivery_waiting ON campaigns_delivery (campaign_id) WHERE status = 'deferred';
"""
RESTORE = """
DROP INDEX delivery_waiting;
CREATE INDEX delivery_in_motion ON campaigns_delivery (campaign_id)
    WHERE status IN ('queued', 'claimed', 'handing_off', 'deferred');
"""


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0001_initial")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(REPLACE, RESTORE)],
            state_operations=[
                migrations.RemoveIndex(model_name="delivery", name="delivery_in_motion"),
                migrations.AddIndex(
                    model_name="delivery",
                    index=models.Index(
                        fields=["campaign"],
                        name="delivery_waiting",
                        condition=models.Q(("status", "deferred")),
                    ),
                ),
            ],
        ),
    ]
