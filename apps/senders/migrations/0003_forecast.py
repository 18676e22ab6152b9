import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("senders", "0002_limits_and_domains")]

    operations = [
        migrations.AddField(
            "sendingpolicy",
            "forecast_percent",
            models.FloatField(
                db_default=5.0,
                default=5.0,
                validators=[
                    django.core.validators.MinValueValidator(0),
                    django.core.validators.MaxValueValidator(100),
                ],
                verbose_name="expected bounces, %",
            ),
        ),
    ]
