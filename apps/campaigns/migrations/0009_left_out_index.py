from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0008_attachments")]

    operations = [
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                fields=["campaign", "status", "contact"],
                name="delivery_left_out",
                condition=Q(status__in=["suppressed", "cancelled"]),
            ),
        ),
    ]
