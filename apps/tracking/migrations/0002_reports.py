import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

# Formatted with the rows that changed, each with its sign. The letters' rows are locked in the
# order of their key; the counters are only appended, so that writers never wait for each other.
COUNT_EVENTS = """
    WITH changed AS MATERIALIZED (
        SELECT workspace_id, campaign_id, contact_id, kind, link, machine, variant, provider,
               device, country, detail,
               to_char(at AT TIME ZONE 'UTC', 'YYYYMMDDHH24') AS hour, sum(sign) AS number
        FROM ({rows}) AS listed
        GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 HAVING sum(sign) <> 0
    ), delta AS MATERIALIZED (
        SELECT workspace_id, campaign_id, contact_id, kind, link, min(provider) AS provider,
               min(variant) AS variant, sum(number) AS events,
               COALESCE(sum(number) FILTER (WHERE machine = ''), 0) AS people
        FROM (
            SELECT workspace_id, campaign_id, contact_id, kind, 0 AS link, provider, variant,
                   machine, number FROM changed WHERE kind IN ('open', 'click')
            UNION ALL
            SELECT workspace_id, campaign_id, contact_id, kind, link, provider, variant,
                   machine, number FROM changed WHERE kind = 'click' AND link > 0
            UNION ALL  -- who clicks has opened: pictures may have been blocked
            SELECT workspace_id, campaign_id, contact_id, 'open', 0, provider, variant,
                   machine, number FROM changed WHERE kind = 'click'
        ) AS told
        GROUP BY 1, 2, 3, 4, 5 HAVING sum(number) <> 0
            OR COALESCE(sum(number) FILTER (WHERE machine = ''), 0) <> 0
    ), known AS (
        INSERT INTO tracking_letter AS letter
            (campaign_id, contact_id, kind, link, provider, variant, events, people)
        SELECT campaign_id, contact_id, kind, link, provider, variant, events, people
        FROM delta ORDER BY campaign_id, contact_id, kind, link
        ON CONFLICT (campaign_id, contact_id, kind, link) DO UPDATE
        SET events = letter.events + EXCLUDED.events, people = letter.people + EXCLUDED.people
        RETURNING campaign_id, contact_id, kind, link, provider, variant, events, people
    ), turned AS (
        SELECT delta.workspace_id, known.campaign_id, known.kind, known.link, known.provider,
               known.variant,
               (known.events > 0)::int - (known.events - delta.events > 0)::int AS letters,
               (known.people > 0)::int - (known.people - delta.people > 0)::int AS people
        FROM known JOIN delta USING (campaign_id, contact_id, kind, link)
    )
    INSERT INTO tracking_count
        (workspace_id, campaign_id, kind, axis, key, events, machines, people, letters)
    SELECT workspace_id, counter, kind, axis, key, sum(events), sum(machines), sum(people),
           sum(letters)
    FROM (
        SELECT workspace_id, counter, kind, axis, key, number AS events,
               CASE WHEN machine = '' THEN 0 ELSE number END AS machines, 0 AS people,
               0 AS letters
        FROM changed, LATERAL (VALUES
            (campaign_id, 'hour', hour),
            (campaign_id, 'link', CASE WHEN kind = 'click' THEN link::text ELSE '' END),
            (campaign_id, 'provider', provider),
            (campaign_id, 'device', device),
            (campaign_id, 'country', country),
            (campaign_id, 'variant', variant::text),
            (campaign_id, 'machine', machine),
            (campaign_id, 'detail', detail),
            (0, 'hour', hour),
            (0, 'provider_day', left(hour, 8) || ' ' || provider)
        ) AS split (counter, axis, key) WHERE key <> ''
        UNION ALL
        SELECT workspace_id, campaign_id, kind, axis, key, 0, 0, people, letters
        FROM turned, LATERAL (VALUES
            ('link', CASE WHEN link > 0 THEN link::text ELSE '' END),
            ('provider', CASE WHEN link = 0 THEN provider ELSE '' END),
            ('variant', CASE WHEN link = 0 THEN variant::text ELSE '' END)
        ) AS split (axis, key) WHERE key <> '' AND (people <> 0 OR letters <> 0)
    ) AS pieces
    GROUP BY 1, 2, 3, 4, 5
    HAVING sum(events) <> 0 OR sum(machines) <> 0 OR sum(people) <> 0 OR sum(letters) <> 0
"""
# What became of the ledger's rows, by the hour in which they changed last.
COUNT_OUTCOMES = """
    INSERT INTO tracking_count (workspace_id, campaign_id, kind, axis, key, events)
    SELECT campaign.workspace_id, counter, kind, axis, key, sum(number)
    FROM (
        SELECT campaign_id, kind, variant, provider, hour, sum(sign) AS number
        FROM (
            SELECT campaign_id, variant, provider, sign,
                   to_char(updated_at AT TIME ZONE 'UTC', 'YYYYMMDDHH24') AS hour,
                   CASE WHEN status = 'sent' THEN 'sent' WHEN fault = 'mailbox' THEN 'hard'
                        ELSE 'failed' END AS kind
            FROM ({rows}) AS listed WHERE status IN ('sent', 'failed')
        ) AS told
        GROUP BY 1, 2, 3, 4, 5 HAVING sum(sign) <> 0
    ) AS changed
    JOIN campaigns_campaign campaign ON campaign.id = changed.campaign_id,
    LATERAL (VALUES
        (campaign_id, 'hour', hour),
        (campaign_id, 'variant', variant::text),
        (0, 'hour', hour),
        (0, 'provider_day', left(hour, 8) || ' ' || provider)
    ) AS split (counter, axis, key)
    GROUP BY 1, 2, 3, 4, 5 HAVING sum(number) <> 0
"""
_CHANGES = {
    "INSERT": ("SELECT *, 1 AS sign FROM after", "NEW TABLE AS after"),
    "UPDATE": (
        "SELECT *, 1 AS sign FROM after UNION ALL SELECT *, -1 FROM before",
        "OLD TABLE AS before NEW TABLE AS after",
    ),
    "DELETE": ("SELECT *, -1 AS sign FROM before", "OLD TABLE AS before"),
}


def _triggers(name: str, table: str, statement: str) -> str:
    """One trigger a statement, whatever number of rows it changes, and what is there already."""
    made = [
        f"""
        CREATE FUNCTION {name}_{change.lower()}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN {statement.format(rows=rows)}; RETURN NULL; END $$;
        CREATE TRIGGER {name}_{change.lower()} AFTER {change} ON {table} REFERENCING {tables}
        FOR EACH STATEMENT EXECUTE FUNCTION {name}_{change.lower()}();
        """
        for change, (rows, tables) in _CHANGES.items()
    ]
    return "".join([*made, statement.format(rows=f"SELECT *, 1 AS sign FROM {table}"), ";"])


def _without(name: str, table: str) -> str:
    return "".join(
        f"DROP TRIGGER {name}_{change} ON {table}; DROP FUNCTION {name}_{change}();"
        for change in ("insert", "update", "delete")
    )


CREATE_TABLES = """
CREATE TABLE tracking_letter (
    campaign_id bigint NOT NULL,
    contact_id bigint NOT NULL,
    kind varchar(12) NOT NULL,
    link integer NOT NULL,
    provider varchar(16) NOT NULL,
    variant smallint NOT NULL,
    events integer NOT NULL,
    people integer NOT NULL,
    PRIMARY KEY (campaign_id, contact_id, kind, link)
) WITH (fillfactor = 90);
CREATE TABLE tracking_count (
    id bigint PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY,
    workspace_id bigint NOT NULL,
    campaign_id bigint NOT NULL,
    kind varchar(12) NOT NULL,
    axis varchar(12) NOT NULL,
    key varchar(40) COLLATE "C" NOT NULL,
    events bigint NOT NULL DEFAULT 0,
    machines bigint NOT NULL DEFAULT 0,
    people bigint NOT NULL DEFAULT 0,
    letters bigint NOT NULL DEFAULT 0,
    folded boolean NOT NULL DEFAULT false
);
CREATE UNIQUE INDEX count_folded
    ON tracking_count (campaign_id, axis, key, kind, workspace_id) WHERE folded;
CREATE INDEX count_of_campaign ON tracking_count (campaign_id, workspace_id, axis, key);
CREATE INDEX count_unfolded ON tracking_count (id) WHERE NOT folded;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
        ("campaigns", "0006_letters"),
        ("tracking", "0001_events"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(CREATE_TABLES, "DROP TABLE tracking_letter, tracking_count")
            ],
            state_operations=[
                migrations.CreateModel(
                    name="Count",
                    fields=[
                        (
                            "id",
                            models.BigAutoField(
                                auto_created=True,
                                primary_key=True,
                                serialize=False,
                                verbose_name="ID",
                            ),
                        ),
                        ("workspace_id", models.BigIntegerField()),
                        ("campaign_id", models.BigIntegerField()),
                        ("kind", models.CharField(max_length=12)),
                        ("axis", models.CharField(max_length=12)),
                        ("key", models.CharField(db_collation="C", max_length=40)),
                        ("events", models.BigIntegerField(db_default=0, default=0)),
                        ("machines", models.BigIntegerField(db_default=0, default=0)),
                        ("people", models.BigIntegerField(db_default=0, default=0)),
                        ("letters", models.BigIntegerField(db_default=0, default=0)),
                        ("folded", models.BooleanField(db_default=False, default=False)),
                    ],
                    options={
                        "indexes": [
                            models.Index(
                                fields=["campaign_id", "workspace_id", "axis", "key"],
                                name="count_of_campaign",
                            ),
                            models.Index(
                                condition=models.Q(("folded", False)),
                                fields=["id"],
                                name="count_unfolded",
                            ),
                        ],
                        "constraints": [
                            models.UniqueConstraint(
                                condition=models.Q(("folded", True)),
                                fields=("campaign_id", "axis", "key", "kind", "workspace_id"),
                                name="count_folded",
                            )
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="Letter",
                    fields=[
                        (
                            "pk",
                            models.CompositePrimaryKey(
                                "campaign_id",
                                "contact_id",
                                "kind",
                                "link",
                                blank=True,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        ("campaign_id", models.BigIntegerField()),
                        ("contact_id", models.BigIntegerField()),
                        ("kind", models.CharField(max_length=12)),
                        ("link", models.IntegerField()),
                        ("provider", models.CharField(max_length=16)),
                        ("variant", models.PositiveSmallIntegerField()),
                        ("events", models.IntegerField()),
                        ("people", models.IntegerField()),
                    ],
                ),
            ],
        ),
        migrations.RunSQL(
            _triggers("tracking_count_events", "tracking_event", COUNT_EVENTS),
            _without("tracking_count_events", "tracking_event"),
        ),
        migrations.RunSQL(
            _triggers("tracking_count_outcomes", "campaigns_delivery", COUNT_OUTCOMES),
            _without("tracking_count_outcomes", "campaigns_delivery"),
        ),
        migrations.CreateModel(
            name="ReportShare",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("expires_at", models.DateTimeField()),
                (
                    "campaign",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="report_share",
                        to="campaigns.campaign",
                    ),
                ),
                (
                    "created_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
    ]
