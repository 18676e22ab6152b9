from django.db import migrations, models

# What has no month of its own yet goes into the default partition: no event is ever turned away.
CREATE_EVENTS = """
CREATE TABLE tracking_event (
    at timestamptz NOT NULL,
    number bigint NOT NULL,
    workspace_id bigint NOT NULL,
    campaign_id bigint NOT NULL,
    contact_id bigint NOT NULL,
    kind varchar(12) NOT NULL,
    link integer NOT NULL DEFAULT 0 CHECK (link >= 0),
    machine varchar(16) NOT NULL DEFAULT '',
    variant smallint NOT NULL DEFAULT 0 CHECK (variant >= 0),
    provider varchar(16) NOT NULL DEFAULT 'other',
    device varchar(16) NOT NULL DEFAULT '',
    country varchar(2) NOT NULL DEFAULT '',
    agent varchar(300) NOT NULL DEFAULT '',
    address inet,
    detail varchar(40) NOT NULL DEFAULT '',
    PRIMARY KEY (at, number)
) PARTITION BY RANGE (at);
CREATE TABLE tracking_event_default PARTITION OF tracking_event DEFAULT;
CREATE INDEX event_of_letter ON tracking_event (campaign_id, contact_id, at);
"""


class Migration(migrations.Migration):
    initial = True

    dependencies = [("campaigns", "0006_letters")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(CREATE_EVENTS, "DROP TABLE tracking_event")],
            state_operations=[
                migrations.CreateModel(
                    name="Event",
                    fields=[
                        (
                            "pk",
                            models.CompositePrimaryKey(
                                "at",
                                "number",
                                blank=True,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        ("at", models.DateTimeField()),
                        ("number", models.BigIntegerField()),
                        ("workspace_id", models.BigIntegerField()),
                        ("campaign_id", models.BigIntegerField()),
                        ("contact_id", models.BigIntegerField()),
                        (
                            "kind",
                            models.CharField(
                                choices=[
                                    ("open", "Opened"),
                                    ("click", "Clicked"),
                                    ("unsubscribe", "Unsubscribed"),
                                    ("bounce", "Bounced"),
                                    ("complaint", "Complained"),
                                ],
                                max_length=12,
                            ),
                        ),
                        ("link", models.PositiveIntegerField(db_default=0, default=0)),
                        (
                            "machine",
                            models.CharField(blank=True, db_default="", default="", max_length=16),
                        ),
                        ("variant", models.PositiveSmallIntegerField(db_default=0, default=0)),
                        (
                            "provider",
                            models.CharField(db_default="other", default="other", max_length=16),
                        ),
                        (
                            "device",
                            models.CharField(blank=True, db_default="", default="", max_length=16),
                        ),
                        (
                            "country",
                            models.CharField(blank=True, db_default="", default="", max_length=2),
                        ),
                        (
                            "agent",
                            models.CharField(blank=True, db_default="", default="", max_length=300),
                        ),
                        ("address", models.GenericIPAddressField(null=True)),
                        (
                            "detail",
                            models.CharField(blank=True, db_default="", default="", max_length=40),
                        ),
                    ],
                    options={
                        "indexes": [
                            models.Index(
                                fields=["campaign_id", "contact_id", "at"], name="event_of_letter"
                            )
                        ],
                    },
                ),
            ],
        ),
    ]
