from __future__ import annotations

from django.db import migrations, models

# A letter of its own was HTML or a text until now, without an editor to say so.
OWN_LETTERS = "UPDATE campaigns_variant SET editor = 'html' WHERE html <> '' OR text <> ''"


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0009_left_out_index")]

    operations = [
        migrations.AddField(
            model_name="variant",
            name="design",
            field=models.TextField(blank=True, default=""),
        ),
        migrations.AddField(
            model_name="variant",
            name="editor",
            field=models.CharField(
                blank=True,
                choices=[
                    ("builder", "Drag and drop"),
                    ("mjml", "MJML"),
                    ("html", "HTML"),
                    ("rich", "Rich text"),
                ],
                default="",
                max_length=7,
            ),
        ),
        migrations.RunSQL(OWN_LETTERS, migrations.RunSQL.noop),
    ]
