"""The form that asks for another check of a list."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.mailer.models import Import


class VerifyListForm(forms.Form):
    level = forms.ChoiceField(
        label=_("Level"),
        choices=Import.Level.choices,
        initial=Import.Level.FULL,
        widget=forms.RadioSelect,
    )
    months = forms.TypedChoiceField(
        label=_("Which addresses"),
        coerce=int,
        initial=6,
        choices=[
            (0, _("All of the list")),
            (1, _("Checked more than a month ago, or never")),
            (3, _("Checked more than 3 months ago, or never")),
            (6, _("Checked more than 6 months ago, or never")),
            (12, _("Checked more than a year ago, or never")),
        ],
    )
