"""Reads of imports and of the checks that follow them."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count, QuerySet
from django.utils import timezone

from apps.mailer.models import Contact, ContactField, Import, Verdict, Verification
from mailkit.imports.suggest import suggest_mapping


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """`rows` read of `total_rows` (an estimate from the file's size, None where unknown).

    `rate` is in rows a second; `seconds_left` None while it cannot be told. `checked` of
    `to_check` contacts have their first answer; `verdicts` counts the answers so far.
    """

    rows: int
    total_rows: int | None
    rate: float
    seconds_left: float | None
    checked: int
    to_check: int
    verdicts: dict[str, int]

    @property
    def verified(self) -> bool:
        return self.checked == self.to_check


def suggested_mapping(job: Import) -> dict[int, str]:
    """Column index to email, first_name, last_name or a custom field's key."""
    known = dict(
        ContactField.objects.filter(workspace=job.workspace_id)
        .order_by("pk")
        .values_list("key", "label")
    )
    return suggest_mapping(job.source["headers"], job.source["sample"], known)


@dataclass(frozen=True, slots=True)
class CheckProgress:
    """`checked` of `to_check` contacts have their first answer."""

    checked: int
    to_check: int
    finished: bool


def check_progress(job: Import) -> CheckProgress:
    """How far the checks of an import's contacts are."""
    run = Verification.objects.filter(of_import=job).first()
    if run is None:
        # Cancelled before its first row, there is nothing to check.
        return CheckProgress(0, 0, finished=job.state == Import.State.CANCELLED)
    finished = run.state == Verification.State.FINISHED
    unanswered = 0 if finished else sum(some.count() for some in waiting(run))
    return CheckProgress(
        checked=max(0, run.total - unanswered), to_check=run.total, finished=finished
    )


def waiting(run: Verification) -> list[QuerySet[Contact]]:
    """Contacts of a run that still wait for their first answer: its own, and those of its
    import that another run of the workspace checks.
    """
    unanswered = Contact.objects.filter(check_due_at__isnull=False, check_attempts=0)
    found = [unanswered.filter(verification=run)]
    others = list(
        Verification.objects.filter(workspace=run.workspace_id, state=run.State.RUNNING)
        .exclude(pk=run.pk)
        .values_list("pk", flat=True)
    )
    if others and run.of_import_id:
        found.append(
            unanswered.filter(verification__in=others, importedcontact__of_import=run.of_import_id)
        )
    return found


def import_progress(job: Import) -> ImportProgress:
    """How far an import and the checks of its contacts are."""
    checks = check_progress(job)
    total = total_rows(job)
    rate = _rate(job)
    left = (total - job.checkpoint) / rate if total and rate and total >= job.checkpoint else None
    return ImportProgress(
        rows=job.checkpoint,
        total_rows=total,
        rate=rate,
        seconds_left=left,
        checked=checks.checked,
        to_check=checks.to_check,
        verdicts=verdict_counts(job),
    )


def verdict_counts(job: Import) -> dict[str, int]:
    """The verdicts of the contacts that the import met; a contact without one counts nowhere."""
    counts = dict(
        Contact.objects.filter(importedcontact__of_import=job)
        .order_by()
        .values_list("verdict")
        .annotate(number=Count("id"))
    )
    return {verdict: counts.get(verdict, 0) for verdict in Verdict.values}


def reason_counts(job: Import) -> list[tuple[str, str, int]]:
    """(verdict, reason, contacts) of the contacts that the import met, the most frequent first."""
    return list(
        Contact.objects.filter(importedcontact__of_import=job)
        .order_by()
        .values_list("verdict", "reason")
        .annotate(number=Count("id"))
        .order_by("-number", "reason")
    )


@dataclass(frozen=True, slots=True)
class UnfitCells:
    """Cells of one field that were left out, with the first of them."""

    label: str
    kind: str
    number: int
    line: int
    value: str


def unfit_cells(job: Import) -> list[UnfitCells]:
    """What an import left out because it does not fit its field, by the field's name."""
    if not job.unfit:
        return []
    fields = ContactField.objects.filter(workspace=job.workspace_id, key__in=job.unfit)
    return [
        UnfitCells(field.label, field.get_kind_display(), *job.unfit[field.key])
        for field in fields.order_by("label")
    ]


def total_rows(job: Import) -> int | None:
    """Exact once the file is read, before that the file's size over that of the sample's rows."""
    if job.state == Import.State.FINISHED:
        return job.checkpoint
    sample = job.source.get("sample") or []
    if job.source.get("kind") != "csv" or job.source.get("packing") or not sample:
        return None
    encoding = job.source["encoding"]
    rows = ["x".join([*row, "x"]).encode(encoding, "replace") for row in sample]
    average = sum(map(len, rows)) / len(rows)
    size: int = job.source["size"]
    return max(job.checkpoint, round(size / average))


def _rate(job: Import) -> float:
    if not job.started_at:
        return 0.0
    seconds = ((job.finished_at or timezone.now()) - job.started_at).total_seconds()
    return job.checkpoint / seconds if seconds > 0 else 0.0
