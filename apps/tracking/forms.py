"""What recipients may say on the pages behind a letter's links."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.forms import BoundField
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apps.mailer.forms import text_of
from apps.mailer.models import ContactList, LeavingReason, SignupForm
from apps.mailer.signup_form_forms import fields_asked
from apps.tracking.services import preferences
from apps.tracking.services.recipients import Recipient
from mailkit.addresses import Address, Fault, parse_address


class PreferencesForm(forms.Form):
    """`shown` are the lists that stood on the page when it was opened."""

    shown = forms.ModelMultipleChoiceField(queryset=ContactList.objects.none(), required=False)
    lists = forms.ModelMultipleChoiceField(
        label=_("I want to get"),
        queryset=ContactList.objects.none(),
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
    every_days = forms.TypedChoiceField(
        label=_("How often"),
        choices=[
            ("", _("Every letter")),
            ("7", _("At most one a week")),
            ("30", _("At most one a month")),
        ],
        coerce=int,
        empty_value=None,
        required=False,
        widget=forms.RadioSelect,
    )

    def __init__(self, data: Any = None, *, recipient: Recipient) -> None:
        contact = recipient.contact
        self.offered = preferences.lists_shown(recipient)
        super().__init__(
            data,
            initial={
                "lists": list(contact.lists.all()),
                "every_days": contact.every_days if contact.every_days else "",
            },
        )
        offered = ContactList.objects.filter(pk__in=[one.pk for one in self.offered])
        for name in ("shown", "lists"):
            self.fields[name].queryset = offered  # type: ignore[attr-defined]
        self.fields["lists"].label_from_instance = lambda one: one.public_name  # type: ignore[attr-defined]


class PublicSignup(forms.Form):
    """A sign-up form as the public fills it in. Custom fields are called `field_<key>`.

    `website` is a trap for programs that fill in everything.
    """

    email = forms.CharField(
        label=_("Email"),
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
    )
    website = forms.CharField(required=False, max_length=1000)
    consent = forms.BooleanField(error_messages={"required": _("Tick the box if you agree.")})

    def __init__(self, data: Any = None, *, form: SignupForm, initial: Any = None) -> None:
        super().__init__(data, initial=initial)
        asked = fields_asked(form)
        self.asked = list(asked)
        self.fields.update({f"field_{key}": field for key, field in asked.items()})

    def entries(self) -> Iterator[BoundField]:
        return (self[f"field_{key}"] for key in self.asked)

    def clean_email(self) -> Address:
        address = parse_address(self.cleaned_data["email"])
        if isinstance(address, Fault):
            raise ValidationError(gettext("This is not an email address."))
        return address

    def values(self) -> dict[str, str]:
        """As contacts keep them: text, "" for none."""
        return {key: text_of(self.cleaned_data[f"field_{key}"]) for key in self.asked}


class ReasonForm(forms.Form):
    reason = forms.ChoiceField(
        label=_("Why?"), choices=LeavingReason.Reason, widget=forms.RadioSelect
    )
    comment = forms.CharField(
        label=_("In your own words"),
        required=False,
        max_length=LeavingReason.LONGEST_COMMENT,
        widget=forms.Textarea(attrs={"rows": 3}),
    )
