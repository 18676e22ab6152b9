from django.db import migrations, models

ADD_VARIANT = "ALTER TABLE campaigns_delivery ADD COLUMN variant smallint NOT NULL DEFAULT 0"
DROP_VARIANT = "ALTER TABLE campaigns_delivery DROP COLUMN variant"


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0005_bounces")]

    operations = [
        migrations.AddField(
            model_name="campaign",
            name="preheader",
            field=models.CharField(
                blank=True, default="", max_length=200, verbose_name="preheader"
            ),
        ),
        migrations.AddField(
            model_name="campaign",
            name="editor",
            field=models.CharField(
                choices=[
                    ("builder", "Drag and drop"),
                    ("mjml", "MJML"),
                    ("html", "HTML"),
                    ("rich", "Rich text"),
                ],
                default="html",
                max_length=7,
            ),
        ),
        migrations.AddField(
            model_name="campaign",
            name="design",
            field=models.TextField(blank=True, default=""),
        ),
        migrations.AddField(
            model_name="campaign",
            name="utm",
            field=models.JSONField(blank=True, default=dict),
        ),
        migrations.AddField(
            model_name="campaign",
            name="view_online",
            field=models.BooleanField(default=False, verbose_name="link to view it in a browser"),
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(ADD_VARIANT, DROP_VARIANT)],
            state_operations=[
                migrations.AddField(
                    model_name="delivery",
                    name="variant",
                    field=models.PositiveSmallIntegerField(default=0),
                ),
            ],
        ),
    ]
