import django.db.models.deletion
from django.db import migrations, models

import apps.mailer.models.imports


class Migration(migrations.Migration):
    dependencies = [("mailer", "0008_segments")]

    operations = [
        migrations.AddField(
            model_name="import",
            name="written_up_to",
            field=models.JSONField(default=apps.mailer.models.imports._nothing_written),
        ),
        migrations.RunSQL(
            "UPDATE mailer_import SET written_up_to = jsonb_build_array(checkpoint, checkpoint)",
            migrations.RunSQL.noop,
        ),
        migrations.AlterField(
            model_name="importedcontact",
            name="contact",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.DO_NOTHING,
                to="mailer.contact",
            ),
        ),
    ]
