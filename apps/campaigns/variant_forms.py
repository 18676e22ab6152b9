"""Forms of variants and of their test."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.campaigns import variants
from apps.campaigns.forms import LetterForm, one_line, version
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


class VariantForm(LetterForm):
    """What differs in a variant; the letter only where it has one of its own."""

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
    version = forms.CharField(widget=forms.HiddenInput, required=False)

    def __init__(self, *args: Any, has_letter: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not has_letter:
            for name in LetterForm.base_fields:
                del self.fields[name]

    @classmethod
    def of(cls, campaign: Campaign, variant: Variant) -> VariantForm:
        """The form showing what is saved."""
        saved = variants.own_of(variant) | {"version": version(campaign)}
        return cls(initial=saved, has_letter=variants.has_content(variant))

    def content(self) -> dict[str, Any]:
        """What update_variant takes; of the letter only what the page had."""
        absent = {"version"} | {name for name in ("design", "html") if name not in self.data}
        return {name: value for name, value in self.cleaned_data.items() if name not in absent}
