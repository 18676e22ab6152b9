"""A campaign's report as files: tables of figures, and who got the letter and who did not."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from django.utils.translation import gettext as _
from openpyxl import Workbook

from apps.campaigns.messages import FAULTS
from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.selectors import provider_label
from apps.tracking.reports import Point, Report, Row
from mailkit.imports.rows import guarded
from mailkit.providers import OTHER, PROVIDERS

CHUNK = 2000
Cells = Sequence[Any]
Table = tuple[Cells, list[Cells]]
# The mark tells Excel that the text is UTF-8.
BOM = "\N{BYTE ORDER MARK}"


def tables(campaign: Campaign, report: Report) -> dict[str, tuple[str, Table]]:
    """(title, (header, rows)) of each table, by its name in addresses."""
    return {
        "summary": (_("Summary"), _summary(campaign, report)),
        "links": (_("Links"), _links(report)),
        "providers": (_("Providers"), _of_rows(_("Provider"), report.providers)),
        "variants": (_("Variants"), _of_rows(_("Variant"), report.variants)),
        "devices": (_("Devices"), _of_rows(_("Device"), report.devices)),
        "countries": (_("Countries"), _of_rows(_("Country"), report.countries)),
        "hours": (_("Hours"), _of_points(_("Hour"), report.hours)),
        "days": (_("Days"), _of_points(_("Day"), report.days)),
    }


def _summary(campaign: Campaign, report: Report) -> Table:
    rates, status = report.rates, report.tallied.counts
    rows: list[Cells] = [
        (_("Campaign"), campaign.name),
        (_("Subject"), campaign.subject),
        (_("Launched"), campaign.launched_at),
        (_("Letters"), report.total),
        (_("Accepted by the server"), rates.accepted),
        (_("Failed"), rates.bounced),
        (_("of them: no such mailbox"), rates.hard),
        (_("of them: came back later"), sum(number for _label, number in report.returned)),
        (_("Deferred"), status["deferred"]),
        (_("Unknown"), status["unknown"]),
        (_("Suppressed"), status["suppressed"]),
        (_("Cancelled"), status["cancelled"]),
    ]
    if rates.track_opens:
        rows += [
            (_("People who opened"), rates.opened),
            (_("Opens in all"), report.opens.events),
            (_("of them by machines"), report.opens.machines),
        ]
    if rates.track_clicks:
        rows += [
            (_("People who clicked"), rates.clicked),
            (_("Clicks in all"), report.clicks.events),
            (_("of them by machines"), report.clicks.machines),
        ]
    rows += [
        (_("Unsubscribed"), rates.unsubscribed),
        (_("Complaints"), rates.complained),
    ]
    return (_("Figure"), _("Value")), rows


def _links(report: Report) -> Table:
    header = (_("Number"), _("Link"), _("People who clicked"), _("Clicks in all"), _("Machines"))
    rows: list[Cells] = [
        (one.number, one.url, one.clicks.people, one.clicks.events, one.clicks.machines)
        for one in report.links
    ]
    return header, rows


def _of_rows(name: str, rows: Sequence[Row]) -> Table:
    header = (
        name, _("Accepted"), _("People who opened"), _("People who clicked"),
        _("Opens by people"), _("Clicks by people"), _("Opens in all"), _("Clicks in all"),
        _("Unsubscribed"), _("Complaints"),
    )  # fmt: skip
    found: list[Cells] = [
        (
            row.label, row.accepted, row.opens.people, row.clicks.people, row.opens.by_people,
            row.clicks.by_people, row.opens.events, row.clicks.events, row.unsubscribed,
            row.complained,
        )
        for row in rows
    ]  # fmt: skip
    return header, found


def _of_points(name: str, points: Sequence[Point]) -> Table:
    header = (name, *series_labels())
    return header, [(point.iso, *point.values) for point in points]


def series_labels() -> tuple[str, ...]:
    """Of reports.SERIES."""
    return (
        _("Accepted"), _("Opens by people"), _("Clicks by people"), _("Unsubscribed"),
        _("Complaints"), _("Came back"),
    )  # fmt: skip


def _cell(value: Any) -> Any:
    """A value that a spreadsheet takes for what it is: numbers, else text and no formula."""
    if value is None:
        return ""
    if isinstance(value, int | float):
        return value
    if hasattr(value, "isoformat"):
        return value.isoformat(timespec="seconds")
    return guarded(str(value))


def csv_rows(header: Cells, rows: Iterator[Cells]) -> Iterator[str]:
    """The pieces of a CSV file; the first one before any row is asked for."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    text.write(BOM)
    writer.writerow(map(_cell, header))
    yield text.getvalue()
    while some := list(islice(rows, CHUNK)):
        text.seek(0)
        text.truncate()
        writer.writerows(map(_cell, row) for row in some)
        yield text.getvalue()


def workbook(campaign: Campaign, report: Report) -> bytes:
    """Every table on a sheet of its own; those without rows are left out."""
    book = Workbook(write_only=True)
    for title, (header, rows) in tables(campaign, report).values():
        if not rows:
            continue
        sheet = book.create_sheet(title[:31])
        sheet.append(list(map(_cell, header)))
        for row in rows:
            sheet.append(list(map(_cell, row)))
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def recipients(campaign: Campaign) -> Iterator[Cells]:
    """Every row of the ledger, read in chunks by its key."""
    statuses = {code: str(label) for code, label in Delivery.Status.choices}
    faults = {code: str(label) for code, label in FAULTS.items()}
    providers = {code: provider_label(code) for code in (*PROVIDERS, OTHER)}
    after = 0
    while True:
        rows = list(
            Delivery.objects.filter(campaign=campaign, contact_id__gt=after)
            .order_by("contact_id")
            .values_list(
                "contact_id", "email", "status", "fault", "code", "reply", "provider", "variant",
                "opened_at", "clicked_at", "updated_at",
            )[:CHUNK]
        )  # fmt: skip
        for _id, email, status, fault, code, reply, provider, variant, *times in rows:
            yield (
                email, statuses.get(status, status), faults.get(fault, ""), code, reply,
                providers.get(provider, provider), variant or "", *times,
            )  # fmt: skip
        if len(rows) < CHUNK:
            return
        after = rows[-1][0]


def recipients_header() -> Cells:
    return (
        _("Address"), _("Status"), _("Reason"), _("Code"), _("Answer of the server"),
        _("Provider"), _("Variant"), _("Opened"), _("Clicked"), _("Changed"),
    )  # fmt: skip
