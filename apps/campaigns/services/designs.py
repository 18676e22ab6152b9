"""How a draft's letter is made, the campaign's own or that of a variant."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from apps.campaigns.models import Campaign, Variant
from apps.campaigns.services.campaigns import update_campaign
from apps.campaigns.services.variants import update_variant
from apps.content.models import Editor, Template
from apps.content.services.letters import converted
from core.errors import InvalidInput


def update_letter(*, campaign: Campaign, variant: Variant | None = None, **content: Any) -> None:
    """Change a draft, or what differs in one of its variants. Raises Conflict, InvalidInput."""
    if variant is None:
        update_campaign(campaign=campaign, **content)
    else:
        update_variant(campaign=campaign, number=variant.number, **content)


def change_editor(*, campaign: Campaign, to: str, variant: Variant | None = None) -> None:
    """Go on writing the letter in another way. Raises Conflict, InvalidInput."""
    letter = variant or campaign
    if to not in Editor.values or not letter.editor:
        raise InvalidInput(_("Choose how to make the letter."))
    design, html = converted(editor=letter.editor, to=to, design=letter.design, html=letter.html)
    update_letter(campaign=campaign, variant=variant, editor=to, design=design, html=html)


def start_from(
    *, campaign: Campaign, source: Template | str, variant: Variant | None = None
) -> None:
    """Replace the letter by a template's, or by MJML of our own. Raises Conflict."""
    if isinstance(source, str):
        content = {"editor": Editor.BUILDER.value, "design": source, "html": ""}
    else:
        content = {"editor": source.editor, "design": source.design, "html": source.html}
    update_letter(campaign=campaign, variant=variant, **content)
