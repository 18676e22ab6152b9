"""What filters think of a letter's form, where SpamAssassin is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.utils import timezone

from apps.accounts.models import Membership, User, Workspace
from apps.campaigns import letters
from apps.senders.models import DkimKey, SendingDomain
from apps.senders.services.domains import add_domain
from core.settings import BASE_DIR
from tests.support.factories import make_campaign, make_contact

SPAMASSASSIN = shutil.which("spamassassin")


@pytest.mark.skipif(not SPAMASSASSIN, reason="SpamAssassin is not installed")
@pytest.mark.parametrize("letter", ["samples/letter.html", "benchmarks/letter.html"])
def test_a_signed_letter_scores_clean(
    letter: str, workspace: Workspace, owner: User, settings: LazySettings, tmp_path: Path
) -> None:
    settings.BASE_URL = "https://mail.shop.example"
    domain = add_domain(
        workspace=workspace, by=Membership.objects.get(user=owner), name="shop.example"
    )
    DkimKey.objects.filter(domain=SendingDomain.objects.get(pk=domain.pk)).update(active=True)
    campaign = make_campaign(
        workspace,
        subject="Осенний каталог готов, {{ first_name }}",
        from_name="Shop",
        from_email="news@shop.example",
        html=(BASE_DIR / letter).read_text(encoding="utf-8"),
        text="",
    )
    anna = make_contact(workspace, "anna@reader.example", first_name="Анна", last_name="Smith")
    values = {"first_name": anna.first_name, "last_name": anna.last_name}
    message = letters.compiled(campaign).letter(anna.pk, anna.email, values, date=timezone.now())
    assert message.stuffed.count(b"DKIM-Signature:") == 2
    assert SPAMASSASSIN
    said = subprocess.run(
        [SPAMASSASSIN, "--local", "--test-mode", "--cf=use_bayes 0", "--cf=use_razor2 0"],
        input=message.stuffed.replace(b"\r\n", b"\n"),
        capture_output=True,
        check=True,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    ).stdout.decode(errors="replace")
    found = re.search(r"X-Spam-Status: (\w+), score=(-?[\d.]+)", said)
    assert found, said[-2000:]
    assert found[1] == "No"
    # Of 5 that make spam. A short letter with a pixel in it gets 2 for "images with few words", and
    # a Cyrillic one of more than 1,600 octets 1 for "es that are not es".
    assert float(found[2]) < 2.5, said[said.find("Content analysis") :][:2000]
