"""The main job from end to end: a contact file in, verified and personalised mail out."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.core.files import File
from django.db import connection, transaction

from apps.accounts.models import Membership, User, Workspace
from apps.campaigns import letters, selectors
from apps.campaigns.management.commands.launch_campaign import wait_for_campaign
from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.services import launch
from apps.campaigns.services.campaigns import create_campaign
from apps.mailer import selectors as audience
from apps.mailer.management.commands.import_contacts import wait_for_import
from apps.mailer.models import Contact, Import
from apps.mailer.services import imports, lists
from apps.ops import processes
from apps.sandbox.models import Message
from core.cli import print_table
from mailkit.imports.rows import TARGETS

SAMPLE = settings.BASE_DIR / "samples" / "contacts.csv"
SAMPLE_RECIPIENTS = 2000
LETTER = settings.BASE_DIR / "samples" / "letter.html"
SENDER = "news@sandbox.test"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The demo's figures. `lost` and `duplicates` compare the ledger with the inbox."""

    imported: int
    rejected: int
    valid: int
    sent: int
    inbox: int
    lost: int
    duplicates: int

    @property
    def line(self) -> str:
        return (
            f"demo: imported {self.imported} rejected {self.rejected} valid {self.valid} "
            f"sent {self.sent} inbox {self.inbox} lost {self.lost} duplicates {self.duplicates}"
        )

    @property
    def passed(self) -> bool:
        return self.lost == 0 and self.duplicates == 0 and self.sent > 0


def run(*, workspace: Workspace, by: User | None, recipients: int) -> Outcome:
    """Import, verify, launch, wait, report, compare; shows its progress on the terminal."""
    with sample_file(recipients) as path, path.open("rb") as file:
        job = imports.upload_file(workspace=workspace, by=by, file=File(file, path.name))
    headers = job.source["headers"]
    mapping = audience.suggested_mapping(job)
    contact_list = lists.get_or_create_list(workspace=workspace, name="Sample customers")
    imports.start_import(
        job=job,
        contact_list=contact_list,
        mapping=mapping,
        labels={key: headers[index] for index, key in mapping.items() if key not in TARGETS},
        level=Import.Level.FULL,
    )
    wait_for_import(job)
    campaign = create_campaign(
        workspace=workspace,
        by=by,
        name="Autumn catalogue",
        subject="{{ first_name | default: 'Здравствуйте' }}, осенний каталог готов",
        from_name="Магазин «Песочница»",
        from_email=SENDER,
        html=LETTER.read_text(encoding="utf-8"),
        lists=[contact_list],
    )
    launch.launch_campaign(campaign=campaign, by=by)
    wait_for_campaign(campaign)
    report(job, campaign)
    return compare(job, campaign)


@contextlib.contextmanager
def sample_file(recipients: int) -> Iterator[Path]:
    """The committed sample, or a larger one made by the same script."""
    if recipients == SAMPLE_RECIPIENTS:
        yield SAMPLE
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "contacts.csv"
        script = settings.BASE_DIR / "scripts" / "make_sample.py"
        command = [sys.executable, str(script), "--recipients", str(recipients), "--out", str(path)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        yield path


def report(job: Import, campaign: Campaign) -> None:
    """Print what became of the file, the addresses and the letters."""
    job.refresh_from_db()
    campaign.refresh_from_db()
    kinds = ("created", "updated", "unchanged", "duplicate", "rejected")
    print_table(
        f"Import: {job.checkpoint} rows",
        ("rows", "number"),
        [(kind, getattr(job, kind)) for kind in kinds],
    )
    print_table(
        "Verification", ("verdict", "reason", "contacts"), list(audience.reason_counts(job))
    )
    counts = selectors.status_counts(campaign)
    print_table(
        f"Campaign {campaign.pk}: {campaign.state}",
        ("status", "letters"),
        [(status, number) for status, number in counts.items() if number],
    )
    if campaign.launched_at and campaign.finished_at:
        seconds = (campaign.finished_at - campaign.launched_at).total_seconds()
        print(f"Sent in {seconds:.1f} s.")
    failures = selectors.failure_reasons(campaign)
    if failures:
        print_table("Not sent", ("stage", "code", "server's words", "letters"), failures)
    peaks = processes.peaks()
    if peaks:
        rows = [(peak.name, peak.processes, f"{peak.peak_mb:.0f}") for peak in peaks]
        print_table("Peak memory", ("process", "number", "largest, MB"), rows)


def compare(job: Import, campaign: Campaign) -> Outcome:
    """Hold the ledger against what the inbox really has, message by message.

    Lost: a valid contact without a row, a row that never became final, or a sent one that the
    inbox has not. Duplicates: messages beyond the first with the same Message-ID.
    """
    inbox = Counter(
        Message.objects.filter(
            inbox=str(campaign.workspace_id), message_id__startswith=f"<{campaign.pk}."
        ).values_list("message_id", flat=True)
    )
    sent = Delivery.objects.filter(campaign=campaign, status=Delivery.Status.SENT)
    missing = sum(
        letters.message_id_of(campaign.pk, contact_id, campaign.from_email) not in inbox
        for contact_id in sent.values_list("contact_id", flat=True).iterator()
    )
    counts = selectors.status_counts(campaign)
    not_final = sum(counts[status] for status in Delivery.IN_MOTION)
    # Of the contacts that were valid at the launch: a later check may find more.
    valid = Contact.objects.filter(
        importedcontact__of_import=job, verdict="valid", verified_at__lte=campaign.launched_at
    )
    with_row = Delivery.objects.filter(campaign=campaign).values("contact_id")
    without_row = valid.exclude(pk__in=with_row).count()
    return Outcome(
        imported=job.checkpoint,
        rejected=job.rejected,
        valid=valid.count(),
        sent=counts["sent"],
        inbox=sum(inbox.values()),
        lost=missing + not_final + without_row,
        duplicates=sum(inbox.values()) - len(inbox),
    )


def demo_user(password: str) -> User:
    """The demo's person; an operator as well, so that every page can be seen."""
    user = User.objects.filter(email="demo@sandbox.test").first()
    return user or User.objects.create_superuser("demo@sandbox.test", password, name="Demo")


def fresh_workspace(owner: User) -> Workspace:
    """The workspace of `make demo`, emptied of what an earlier run left."""
    with transaction.atomic():
        old = Workspace.objects.filter(slug="demo-run").first()
        if old:
            _delete_workspace(old)
        workspace = Workspace.objects.create(name="Demo run", slug="demo-run")
        Membership.objects.create(workspace=workspace, user=owner, role=Membership.Role.OWNER)
    return workspace


def _delete_workspace(workspace: Workspace) -> None:
    """By whole tables: Django would fetch every contact first."""
    with connection.cursor() as cursor:
        for statement in (
            "DELETE FROM campaigns_delivery WHERE campaign_id IN "
            "(SELECT id FROM campaigns_campaign WHERE workspace_id = %s)",
            "DELETE FROM mailer_importedcontact WHERE of_import_id IN "
            "(SELECT id FROM mailer_import WHERE workspace_id = %s)",
            "DELETE FROM mailer_listmember WHERE list_id IN "
            "(SELECT id FROM mailer_contactlist WHERE workspace_id = %s)",
            "DELETE FROM mailer_contact WHERE workspace_id = %s",
        ):
            cursor.execute(statement, [workspace.pk])
    Message.objects.filter(inbox=str(workspace.pk)).delete()
    workspace.delete()
