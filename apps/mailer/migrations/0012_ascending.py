from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
        ("mailer", "0011_contacts"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="contact",
            index=models.Index(fields=["workspace", "id"], name="contact_by_age"),
        ),
        migrations.AddIndex(
            model_name="contact",
            index=models.Index(fields=["workspace", "updated_at", "id"], name="contact_by_change"),
        ),
        migrations.RemoveIndex(model_name="contact", name="contact_newest"),
        migrations.RemoveIndex(model_name="contact", name="contact_changed"),
    ]
