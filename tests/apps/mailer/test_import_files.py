"""How long uploaded files are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.test import Client
from django.utils import timezone

from apps.accounts.models import User, Workspace
from apps.mailer.models import BulkJob, Import, Suppression
from apps.mailer.services import bulk, imports, suppression_files
from core.errors import Conflict
from tests.apps.mailer.helpers import csv_of, imported, queued, start, upload

pytestmark = pytest.mark.django_db


def test_files_of_imports_are_deleted_after_a_month(
    workspace: Workspace, client_of: Callable[[User], Client], owner: User
) -> None:
    old = imported(workspace, csv_of(["ann@example.com"]))
    young = imported(workspace, csv_of(["bob@example.com"]))
    never = upload(workspace, csv_of(["cid@example.com"]))
    new = upload(workspace, csv_of(["dan@example.com"]))
    waiting = start(upload(workspace, csv_of(["eve@example.com"])))
    ago = timezone.now() - imports.KEPT
    Import.objects.filter(pk=old.pk).update(finished_at=ago)
    Import.objects.filter(pk__in=[never.pk, waiting.pk]).update(created_at=ago)
    paths = [Path(one.file.path) for one in (old, young, never, new, waiting)]
    assert imports.remove_old_files() == 2
    assert [path.exists() for path in paths] == [False, True, False, True, True]
    assert imports.remove_old_files() == 0
    assert not Import.objects.filter(pk=never.pk).exists()
    old.refresh_from_db()
    assert (old.file.name, old.source["sample"], old.created) == ("", [], 1)
    client = client_of(owner)
    for job, told in ((old, "is deleted by now"), (young, "deleted 30 days after")):
        assert told in client.get(f"/w/shop/audience/imports/{job.pk}/").text
    assert client.get("/w/shop/audience/imports/").status_code == 200


def test_a_failed_import_cannot_go_on_without_its_file(
    workspace: Workspace, client_of: Callable[[User], Client], owner: User
) -> None:
    job = imported(workspace, csv_of(["ann@example.com"]))
    Import.objects.filter(pk=job.pk).update(state="failed", error_code="file_missing")
    job.refresh_from_db()
    assert imports.forget_file(job) == 1
    assert imports.forget_file(job) == 0
    for stale in (job, Import.objects.get(pk=job.pk)):
        with pytest.raises(Conflict):
            imports.retry_import(job=stale)
    page = client_of(owner).get(f"/w/shop/audience/imports/{job.pk}/").text
    assert "Upload again" in page
    assert "Try this file again" not in page


def test_a_file_that_is_needed_is_not_forgotten(workspace: Workspace) -> None:
    job = queued(workspace, csv_of(["ann@example.com"]))
    assert imports.forget_file(job) == 0
    assert Path(job.file.path).exists()


def test_a_suppression_file_is_deleted_once_it_is_read(workspace: Workspace, owner: User) -> None:
    job = suppression_files.upload_file(
        workspace=workspace, by=owner, file=ContentFile(b"ann@example.com\n", "no.txt")
    )
    path = Path(job.file.path)
    assert bulk.remove_expired_files() == 0
    assert path.exists()
    bulk.run_job(job.pk)
    assert Suppression.objects.filter(email="ann@example.com").exists()
    assert bulk.remove_expired_files() == 1
    assert not path.exists()
    assert BulkJob.objects.get().state == "finished"
