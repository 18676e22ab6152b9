"""Forms of variants and of their test."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.campaigns import variants
from apps.campaigns.forms import one_line
from apps.campaigns.models import Campaign, Variant, WinnerBy
from apps.campaigns.templatetags.campaigns_variants import after_words

HOUR, DAY = 60, 24 * 60
# In minutes.
AFTER = (15, 30, HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR, 12 * HOUR, DAY, 2 * DAY, 3 * DAY, 7 * DAY)


def _after() -> list[tuple[int, str]]:
    return [(minutes, after_words(minutes)) for minutes in AFTER]


class TestForm(forms.Form):
    """How many get the test, and how its winner is found."""

    # pytest would otherwise take the class for a test.
    __test__ = False

    share = forms.IntegerField(
        label=_("Test share, in percent"),
        min_value=1,
        max_value=100,
        help_text=_(
            "So many of the recipients get the variants, evenly; the rest waits for the winner. "
            "With 100 everybody gets one of them, and there is no winner to send."
        ),
    )
    winner_by = forms.ChoiceField(
        label=_("The winner is the one with"), choices=WinnerBy.choices, widget=forms.RadioSelect
    )
    winner_after = forms.TypedChoiceField(
        label=_("It is chosen after"),
        coerce=int,
        choices=_after,
        help_text=_(
            "From when the last test letter has gone out. Of equals the first one is taken; by "
            "hand it can be chosen at any time."
        ),
    )

    @staticmethod
    def saved(campaign: Campaign) -> dict[str, Any]:
        return {
            "share": campaign.test_share,
            "winner_by": campaign.winner_by,
            "winner_after": campaign.winner_after,
        }


class VariantForm(forms.Form):
    """What differs in a variant. Content is all or nothing: its text says what its HTML says."""

    subject = forms.CharField(
        label=_("Subject"), max_length=500, required=False, validators=[one_line]
    )
    from_name = forms.CharField(
        label=_("Sender name"), max_length=150, required=False, validators=[one_line]
    )
    from_email = forms.EmailField(
        label=_("Sender address"),
        max_length=254,
        required=False,
        help_text=_("Of the same domain as the campaign's."),
    )
    own_content = forms.BooleanField(
        label=_("It has content of its own"),
        required=False,
        help_text=_("Otherwise it is the campaign's, also where you change that later."),
    )
    html = forms.CharField(
        label=_("HTML"), required=False, strip=False, widget=forms.Textarea(attrs={"rows": 14})
    )
    text = forms.CharField(
        label=_("Plain text"),
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 6}),
        help_text=_("For mail programs that show no HTML. Left empty, it is made from the HTML."),
    )

    @staticmethod
    def saved(campaign: Campaign, variant: Variant) -> dict[str, Any]:
        """With the campaign's content to begin with, where the variant has none."""
        own = variants.own_of(variant)
        has_content = variants.has_content(variant)
        if not has_content:
            own |= {name: getattr(campaign, name) for name in variants.CONTENT}
        return own | {"own_content": has_content}

    def clean(self) -> dict[str, Any]:
        found = self.cleaned_data
        if found.get("own_content") and not (
            str(found.get("html", "")).strip() or str(found.get("text", "")).strip()
        ):
            self.add_error("html", _("Write the letter: both its HTML and its text are empty."))
        return found

    def own(self) -> dict[str, str]:
        """What update_variant takes. Content that was changed is the variant's own, also where
        somebody forgot to say so."""
        found = dict(self.cleaned_data)
        chosen, had = found.pop("own_content"), self.initial["own_content"]
        changed = any(
            "\n".join(found[name].splitlines()) != "\n".join(self.initial[name].splitlines())
            for name in variants.CONTENT
        )
        if not chosen and (had or not changed):
            found |= dict.fromkeys(variants.CONTENT, "")
        return found
