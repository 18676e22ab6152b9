"""The same counters for less: a statement's events are read twice, once for all axes together and
once for their letters; opens and clicks of a letter share a row."""

from importlib import import_module

from django.db import migrations, models

before = import_module("apps.tracking.migrations.0002_reports")

CREATE_LETTERS = """
CREATE TABLE tracking_letter (
    campaign_id bigint NOT NULL,
    contact_id bigint NOT NULL,
    link integer NOT NULL,
    opens integer NOT NULL,
    people_opens integer NOT NULL,
    clicks integer NOT NULL,
    people_clicks integer NOT NULL,
    variant smallint NOT NULL,
    provider varchar(16) NOT NULL
) WITH (fillfactor = 90);
"""
# Whoever writes events meanwhile waits: nothing may be counted in the old table only.
MOVE_LETTERS = f"""
LOCK TABLE tracking_event IN SHARE ROW EXCLUSIVE MODE;
ALTER TABLE tracking_letter RENAME TO tracking_letter_before;
ALTER INDEX tracking_letter_pkey RENAME TO tracking_letter_before_pkey;
{CREATE_LETTERS}
INSERT INTO tracking_letter
SELECT campaign_id, contact_id, link,
       COALESCE(sum(events) FILTER (WHERE kind = 'open'), 0),
       COALESCE(sum(people) FILTER (WHERE kind = 'open'), 0),
       COALESCE(sum(events) FILTER (WHERE kind = 'click'), 0),
       COALESCE(sum(people) FILTER (WHERE kind = 'click'), 0), min(variant), min(provider)
FROM tracking_letter_before GROUP BY 1, 2, 3;
ALTER TABLE tracking_letter ADD PRIMARY KEY (campaign_id, contact_id, link);
DROP TABLE tracking_letter_before;
"""
MOVE_LETTERS_BACK = """
LOCK TABLE tracking_event IN SHARE ROW EXCLUSIVE MODE;
ALTER TABLE tracking_letter RENAME TO tracking_letter_after;
ALTER INDEX tracking_letter_pkey RENAME TO tracking_letter_after_pkey;
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
INSERT INTO tracking_letter
SELECT campaign_id, contact_id, kind, link, provider, variant, events, people
FROM tracking_letter_after, LATERAL (VALUES
    ('open', opens, people_opens), ('click', clicks, people_clicks)
) AS split (kind, events, people) WHERE events <> 0 OR people <> 0;
DROP TABLE tracking_letter_after;
"""
COUNT_LINKS_OF_VARIANTS = """
INSERT INTO tracking_count (workspace_id, campaign_id, kind, axis, key, people, letters)
SELECT campaign.workspace_id, campaign_id, 'click', 'variant_link', variant || ' ' || link,
       count(*) FILTER (WHERE people_clicks > 0), count(*) FILTER (WHERE clicks > 0)
FROM tracking_letter JOIN campaigns_campaign campaign ON campaign.id = campaign_id
WHERE link > 0 AND variant > 0 GROUP BY 1, 2, 5
"""
# Formatted with the rows that changed, each with its sign. The letters' rows are locked in the
# order of their key; the counters are only appended, so that writers never wait for each other.
COUNT_EVENTS = """
    WITH delta AS MATERIALIZED (  -- who clicks has opened: pictures may have been blocked
        SELECT workspace_id, campaign_id, contact_id, COALESCE(link, 0) AS link,
               CASE WHEN GROUPING(link) = 1 THEN sum(sign) ELSE 0 END AS opens,
               CASE WHEN GROUPING(link) = 1
                    THEN COALESCE(sum(sign) FILTER (WHERE machine = ''), 0)
                    ELSE 0 END AS people_opens,
               COALESCE(sum(sign) FILTER (WHERE kind = 'click'), 0) AS clicks,
               COALESCE(sum(sign) FILTER (WHERE kind = 'click' AND machine = ''), 0)
                   AS people_clicks,
               min(variant) AS variant, min(provider) AS provider
        FROM ({rows}) AS listed WHERE kind IN ('open', 'click')
        GROUP BY GROUPING SETS ((workspace_id, campaign_id, contact_id),
                                (workspace_id, campaign_id, contact_id, link))
        HAVING (GROUPING(link) = 1 OR link > 0)
           AND (sum(sign) <> 0
                OR COALESCE(sum(sign) FILTER (WHERE machine = ''), 0) <> 0
                OR COALESCE(sum(sign) FILTER (WHERE kind = 'click'), 0) <> 0
                OR COALESCE(sum(sign) FILTER (WHERE kind = 'click' AND machine = ''), 0) <> 0)
    ), known AS (
        INSERT INTO tracking_letter AS letter
            (campaign_id, contact_id, link, opens, people_opens, clicks, people_clicks, variant,
             provider)
        SELECT campaign_id, contact_id, link, opens, people_opens, clicks, people_clicks, variant,
               provider
        FROM delta ORDER BY campaign_id, contact_id, link
        ON CONFLICT (campaign_id, contact_id, link) DO UPDATE
        SET opens = letter.opens + EXCLUDED.opens,
            people_opens = letter.people_opens + EXCLUDED.people_opens,
            clicks = letter.clicks + EXCLUDED.clicks,
            people_clicks = letter.people_clicks + EXCLUDED.people_clicks
        RETURNING campaign_id, contact_id, link, opens, people_opens, clicks, people_clicks,
                  variant, provider
    ), turned AS (
        SELECT delta.workspace_id, delta.campaign_id, delta.link, known.variant, known.provider,
               sum((known.opens > 0)::int - (known.opens > delta.opens)::int) AS opens,
               sum((known.people_opens > 0)::int
                   - (known.people_opens > delta.people_opens)::int) AS people_opens,
               sum((known.clicks > 0)::int - (known.clicks > delta.clicks)::int) AS clicks,
               sum((known.people_clicks > 0)::int
                   - (known.people_clicks > delta.people_clicks)::int) AS people_clicks
        FROM known JOIN delta USING (campaign_id, contact_id, link)
        GROUP BY 1, 2, 3, 4, 5
    ), seen AS (
        SELECT workspace_id, campaign_id, kind, hour, day, link, variant, provider, device,
               country, machine, detail, sum(sign) AS events,
               COALESCE(sum(sign) FILTER (WHERE machine <> ''), 0) AS machines
        FROM (
            SELECT workspace_id, campaign_id, kind, link, variant, provider, device, country,
                   machine, detail, sign, date_bin('1 hour', at, '2000-01-01Z') AS hour,
                   date_bin('1 day', at, '2000-01-01Z') AS day
            FROM ({rows}) AS listed
        ) AS timed
        GROUP BY workspace_id, campaign_id, kind, GROUPING SETS (
            (hour), (day, provider), (link), (variant), (provider), (device), (country),
            (machine), (detail))
    )
    INSERT INTO tracking_count
        (workspace_id, campaign_id, kind, axis, key, events, machines, people, letters)
    SELECT workspace_id, counter, kind, axis, key, sum(events), sum(machines), sum(people),
           sum(letters)
    FROM (
        SELECT workspace_id, counter, kind, axis, key, events, machines, 0 AS people, 0 AS letters
        FROM seen, LATERAL (VALUES
            (campaign_id, 'hour', to_char(hour AT TIME ZONE 'UTC', 'YYYYMMDDHH24')),
            (0, 'hour', to_char(hour AT TIME ZONE 'UTC', 'YYYYMMDDHH24')),
            (0, 'provider_day', to_char(day AT TIME ZONE 'UTC', 'YYYYMMDD ') || provider),
            (campaign_id, 'link', CASE WHEN kind = 'click' THEN link::text END),
            (campaign_id, 'variant', variant::text),
            (campaign_id, 'provider', CASE WHEN day IS NULL THEN provider END),
            (campaign_id, 'device', device),
            (campaign_id, 'country', country),
            (campaign_id, 'machine', machine),
            (campaign_id, 'detail', detail)
        ) AS split (counter, axis, key) WHERE key <> ''
        UNION ALL
        SELECT workspace_id, campaign_id, kind, axis, key, 0, 0, people, letters
        FROM turned, LATERAL (VALUES
            ('click', 'link', CASE WHEN link > 0 THEN link::text END, people_clicks, clicks),
            ('click', 'variant_link', CASE WHEN link > 0 AND variant > 0
                                           THEN variant || ' ' || link END, people_clicks, clicks),
            ('open', 'variant', CASE WHEN link = 0 THEN variant::text END, people_opens, opens),
            ('open', 'provider', CASE WHEN link = 0 THEN provider END, people_opens, opens),
            ('click', 'variant', CASE WHEN link = 0 THEN variant::text END, people_clicks, clicks),
            ('click', 'provider', CASE WHEN link = 0 THEN provider END, people_clicks, clicks)
        ) AS split (kind, axis, key, people, letters) WHERE key <> ''
    ) AS pieces
    GROUP BY 1, 2, 3, 4, 5
    HAVING sum(events) <> 0 OR sum(machines) <> 0 OR sum(people) <> 0 OR sum(letters) <> 0
"""


def _functions(name: str, statement: str) -> str:
    """Of triggers that are there. A session keeps its first plan, which may have been made for one
    row: with nested loops it would take hours for thousands."""
    return "".join(
        f"""
        CREATE OR REPLACE FUNCTION {name}_{change.lower()}() RETURNS trigger LANGUAGE plpgsql
        SET enable_nestloop = off AS $$
        BEGIN {statement.format(rows=rows)}; RETURN NULL; END $$;
        """
        for change, (rows, _tables) in before._CHANGES.items()
    )


def _functions_before(name: str, statement: str) -> str:
    return _functions(name, statement).replace("SET enable_nestloop = off", "")


class Migration(migrations.Migration):
    dependencies = [("tracking", "0002_reports")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(MOVE_LETTERS, MOVE_LETTERS_BACK)],
            state_operations=[
                migrations.DeleteModel("Letter"),
                migrations.CreateModel(
                    name="Letter",
                    fields=[
                        (
                            "pk",
                            models.CompositePrimaryKey(
                                "campaign_id",
                                "contact_id",
                                "link",
                                blank=True,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        ("campaign_id", models.BigIntegerField()),
                        ("contact_id", models.BigIntegerField()),
                        ("link", models.IntegerField()),
                        ("opens", models.IntegerField()),
                        ("people_opens", models.IntegerField()),
                        ("clicks", models.IntegerField()),
                        ("people_clicks", models.IntegerField()),
                        ("variant", models.PositiveSmallIntegerField()),
                        ("provider", models.CharField(max_length=16)),
                    ],
                ),
            ],
        ),
        migrations.RunSQL(
            COUNT_LINKS_OF_VARIANTS, "DELETE FROM tracking_count WHERE axis = 'variant_link'"
        ),
        migrations.RunSQL(
            _functions("tracking_count_events", COUNT_EVENTS),
            _functions_before("tracking_count_events", before.COUNT_EVENTS),
        ),
    ]
