"""What the editor's pages edit: a campaign's own letter, or that of one of its variants."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.translation import gettext as _

from apps.accounts.http import WorkspaceRequest
from apps.campaigns import variants
from apps.campaigns.models import Campaign, Variant
from apps.campaigns.services import designs
from apps.campaigns.views.campaigns import campaign_or_404
from core.errors import Conflict


@dataclass(frozen=True, slots=True)
class Edited:
    """Without a variant the campaign's own letter. Its pages of a variant have the names of the
    campaign's with `variant_` before them."""

    campaign: Campaign
    variant: Variant | None = None

    @property
    def letter(self) -> Campaign | Variant:
        """What has the content."""
        return self.variant or self.campaign

    @property
    def name(self) -> str:
        if self.variant is None:
            return self.campaign.name
        words = {"campaign": self.campaign.name, "name": self.variant.name}
        return _("%(campaign)s: variant %(name)s") % words

    @property
    def design(self) -> str:
        return self.letter.design

    @property
    def updated_at(self) -> datetime:
        """One for the draft and its variants: variants change their numbers with the others."""
        return self.campaign.updated_at

    def url(self, page: str) -> str:
        args = [self.campaign.workspace.slug, self.campaign.pk]
        if self.variant is None:
            return reverse(f"campaigns:{page}", args=args)
        return reverse(f"campaigns:variant_{page}", args=[*args, self.variant.number])

    def to_page(self, page: str) -> HttpResponse:
        return redirect(self.url(page))

    def save(self, **content: Any) -> Edited:
        """Raises Conflict, InvalidInput."""
        designs.update_letter(campaign=self.campaign, variant=self.variant, **content)
        return self

    def as_read(self) -> Campaign:
        """The campaign as the recipients of this letter read it; not to be saved."""
        if self.variant is None:
            return self.campaign
        return variants.as_campaign(self.campaign, self.variant)


def edited_or_404(request: WorkspaceRequest, pk: int, number: int = 1) -> Edited:
    """Variant 1 is the campaign's own letter, whether there are others or not."""
    campaign = campaign_or_404(request, pk)
    if number == 1:
        return Edited(campaign)
    return Edited(campaign, get_object_or_404(campaign.variants, number=number))


def draft_or_404(request: WorkspaceRequest, pk: int, number: int = 1) -> Edited:
    """Raises Conflict for a campaign that was launched."""
    edited = edited_or_404(request, pk, number)
    if not edited.campaign.is_draft:
        raise Conflict(_("This campaign was launched: its content cannot change any more."))
    return edited
