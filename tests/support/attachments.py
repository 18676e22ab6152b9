"""Files attached to campaigns, and those that letters brought."""

from __future__ import annotations

import io
from email.message import EmailMessage

from django.core.files.storage import default_storage

from apps.campaigns.attachments import FOLDER
from apps.campaigns.models import Attachment, Campaign
from apps.campaigns.services.attachments import attach_file

PDF = b"%PDF-1.4 prices"


def attach(campaign: Campaign, name: str = "prices.pdf", data: bytes = PDF) -> Attachment:
    return attach_file(campaign=campaign, file=io.BytesIO(data), name=name)


def stored() -> list[str]:
    """The names of the files on the disk."""
    return default_storage.listdir(FOLDER)[1] if default_storage.exists(FOLDER) else []


def files_in(letter: EmailMessage) -> list[tuple[str | None, bytes]]:
    return [(part.get_filename(), part.get_content()) for part in letter.iter_attachments()]
