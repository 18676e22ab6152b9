from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("mailer", "0010_checks"),
    ]

    operations = [
        migrations.AddField(
            model_name="bulkjob",
            name="position",
            field=models.PositiveBigIntegerField(db_default=0, default=0),
        ),
        migrations.AddIndex(
            model_name="import",
            index=models.Index(
                condition=models.Q(("file", ""), _negated=True),
                fields=["finished_at"],
                name="import_files",
            ),
        ),
    ]
