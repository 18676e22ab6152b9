from __future__ import annotations

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("tracking", "0002_reports")]

    operations = [
        migrations.AddIndex(
            model_name="letter",
            index=models.Index(
                fields=["campaign_id", "variant", "link"],
                name="letter_clicked_variant",
                condition=Q(kind="click", variant__gt=0, people__gt=0),
            ),
        ),
    ]
