import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("mailer", "0005_imports")]

    operations = [
        migrations.AddField(
            "verification",
            "of_list",
            models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="verifications",
                to="mailer.contactlist",
            ),
        ),
        migrations.AddField("domainfact", "catch_all", models.BooleanField(null=True)),
        migrations.AddField("domainfact", "catch_all_until", models.DateTimeField(null=True)),
    ]
