from __future__ import annotations

import zoneinfo
from functools import cache
from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from apps.accounts.models import User


@cache
def time_zones() -> list[str]:
    """The zones that are named after a place, and UTC."""
    places = (name for name in zoneinfo.available_timezones() if "/" in name)
    return ["UTC", *sorted(name for name in places if not name.startswith("Etc/"))]


class ProfileForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs only
    language = forms.ChoiceField(
        label=_("Language"),
        required=False,
        choices=[("", _("As the browser asks")), *settings.LANGUAGES],
    )
    time_zone = forms.ChoiceField(label=_("Time zone"))

    class Meta:
        model = User
        fields: ClassVar = ["name", "language", "time_zone"]
        labels: ClassVar = {"name": pgettext_lazy("person", "Name")}
        widgets: ClassVar = {"name": forms.TextInput(attrs={"autocomplete": "name"})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        zones = time_zones()
        if self.instance.time_zone not in zones:
            zones = [self.instance.time_zone, *zones]
        self.fields["time_zone"].choices = [(name, name.replace("_", " ")) for name in zones]  # type: ignore[attr-defined]


class WorkspaceForm(forms.Form):
    name = forms.CharField(label=_("Name of the workspace"), max_length=100)
    postal_address = forms.CharField(
        label=_("Postal address"),
        max_length=300,
        required=False,
        help_text=_(
            "Of the organisation that sends. It stands at the end of letters, and wherever they "
            "have the field postal_address."
        ),
    )
