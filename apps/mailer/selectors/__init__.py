"""Reads of the audience; every one takes the workspace or an object of it."""

from apps.mailer.messages import file_fault_text, reason_text, reject_text
from apps.mailer.selectors.audience import (
    COUNTED,
    SORTS,
    ContactPage,
    contact_page,
    contacts,
    lists_with_counts,
    number_of,
    suppression_of,
    suppressions,
)
from apps.mailer.selectors.imports import (
    CheckProgress,
    ImportProgress,
    check_progress,
    import_progress,
    reason_counts,
    suggested_mapping,
    total_rows,
    unfit_cells,
    verdict_counts,
    waiting,
)
from apps.mailer.selectors.timeline import Timeline, source_text, timeline, whole_timeline

__all__ = [
    "COUNTED",
    "SORTS",
    "CheckProgress",
    "ContactPage",
    "ImportProgress",
    "Timeline",
    "check_progress",
    "contact_page",
    "contacts",
    "file_fault_text",
    "import_progress",
    "lists_with_counts",
    "number_of",
    "reason_counts",
    "reason_text",
    "reject_text",
    "source_text",
    "suggested_mapping",
    "suppression_of",
    "suppressions",
    "timeline",
    "total_rows",
    "unfit_cells",
    "verdict_counts",
    "waiting",
    "whole_timeline",
]
