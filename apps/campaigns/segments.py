"""Conditions of segments on what people did with their letters."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from apps.campaigns.models import Campaign, Engagement
from apps.mailer.segments.subjects import (
    ANY_DAYS,
    DAYS,
    TIMES,
    Argument,
    Builder,
    Operator,
    Scope,
    Subject,
    Text,
    Values,
    days_ago,
    negated,
    register,
)

GROUP = _("Letters")
NEWEST = 500
ANY = ""


@register
def of_letters(scope: Scope) -> dict[str, Subject]:
    campaigns = Campaign.objects.filter(workspace=scope.workspace, launched_at__isnull=False)
    rows = campaigns.order_by("-id").values_list("pk", "name")[:NEWEST]
    options: list[tuple[str, Text]] = [(ANY, _("any campaign"))]
    options += [(str(pk), name) for pk, name in rows]
    which = Argument("campaign", "choice", _("campaign"), tuple(options), optional=True)

    def done(column: str) -> dict[str, Operator]:
        def sql(builder: Builder, values: Values) -> str:
            return _did(builder, column, values)

        arguments = (which, ANY_DAYS, TIMES)
        return {
            "did": Operator(_("did"), sql, arguments),
            "did_not": Operator(_("did not"), negated(sql), arguments),
        }

    received = (which, ANY_DAYS, TIMES)
    return {
        "opened": Subject(_("Opened a letter"), GROUP, done("opened_at")),
        "clicked": Subject(_("Clicked in a letter"), GROUP, done("clicked_at")),
        "received": Subject(
            _("Received a letter"),
            GROUP,
            {
                "did": Operator(_("did"), _received, received),
                "did_not": Operator(_("did not"), negated(_received), received),
            },
        ),
        "ignored": Subject(
            _("Received letters and opened none"),
            GROUP,
            {"last": Operator(_("in the last"), _ignored, (DAYS,))},
        ),
    }


def _own(builder: Builder, since: str = "") -> str:
    """The workspace's campaigns: the indexes of the events begin with the campaign."""
    workspace = builder.value(builder.scope.workspace.pk)
    return (
        "campaign_id = ANY(ARRAY(SELECT id FROM campaigns_campaign "
        f"WHERE workspace_id = {workspace}{since}))"
    )


def _rows(builder: Builder, values: Values) -> str:
    if values["campaign"]:
        return f"campaign_id = {builder.value(int(values['campaign']))}"
    return _own(builder)


def _since(builder: Builder, column: str, values: Values) -> str:
    if not values["days"]:
        return f"{column} IS NOT NULL"
    return f"{column} >= {builder.value(days_ago(builder.scope, values['days']))}"


def _did(builder: Builder, column: str, values: Values) -> str:
    rows = (
        f"campaigns_delivery WHERE {_rows(builder, values)} AND {_since(builder, column, values)}"
    )
    if not values["campaign"]:
        engaged = _engaged(builder, column.removesuffix("_at"), values)
        if values["times"] <= Engagement.KEPT:
            return builder.among(engaged)
        rows += f" AND contact_id IN (SELECT contact_id FROM {engaged})"
    return builder.among(rows, _at_least(builder, values))


def _engaged(builder: Builder, column: str, values: Values) -> str:
    """Who did it so many times, or as many times as are kept."""
    moment = f"{column}[{builder.value(min(values['times'], Engagement.KEPT))}]"
    return (
        "campaigns_engagement "
        f"WHERE workspace_id = {builder.value(builder.scope.workspace.pk)} "
        f"AND {_since(builder, moment, values)}"
    )


def _at_least(builder: Builder, values: Values) -> str:
    if values["times"] == 1:
        # One campaign has one row for each contact.
        return "" if values["campaign"] else "GROUP BY contact_id"
    return f"GROUP BY contact_id HAVING count(*) >= {builder.value(values['times'])}"


# When a letter was accepted is when its row last changed: opens and clicks leave that time. A
# campaign that was finished before has none since; the index knows its rows by their campaign.


def _ended(builder: Builder, days: int) -> str:
    since = builder.value(days_ago(builder.scope, days))
    return f" AND coalesce(finished_at, now()) >= {since}"


def _received(builder: Builder, values: Values) -> str:
    campaigns = _rows(builder, values)
    if values["days"] and not values["campaign"]:
        campaigns = _own(builder, _ended(builder, values["days"]))
    return builder.among(
        f"campaigns_delivery WHERE {campaigns} "
        f"AND status = 'sent' AND {_since(builder, 'updated_at', values)}",
        _at_least(builder, values),
    )


def _ignored(builder: Builder, values: Values) -> str:
    """Letters whose opens were not counted say nothing."""
    since = builder.value(days_ago(builder.scope, values["days"]))
    campaigns = _own(builder, " AND track_opens" + _ended(builder, values["days"]))
    return builder.among(
        f"campaigns_delivery WHERE {campaigns} AND status = 'sent' AND updated_at >= {since}",
        "GROUP BY contact_id HAVING count(opened_at) = 0",
    )
