"""The form by which a workspace makes its sign-up forms."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext, gettext_lazy

from apps.accounts.models import Workspace
from apps.mailer.forms import input_of
from apps.mailer.models import ContactField, ContactList, SignupForm
from apps.mailer.services.signup_forms import Content
from mailkit.addresses import Fault, parse_address
from mailkit.imports.rows import MAX_VALUE
from mailkit.rfc2047 import CONTROL

NAMES = {"first_name": gettext_lazy("First name"), "last_name": gettext_lazy("Last name")}
_AUTOCOMPLETE = {"first_name": "given-name", "last_name": "family-name"}


def fields_asked(form: SignupForm) -> dict[str, forms.Field]:
    """The inputs of a form beside the address, by key; fields deleted since are left out."""
    custom = {
        one.key: one
        for one in ContactField.objects.filter(workspace=form.workspace_id, key__in=form.fields)
    }
    found: dict[str, forms.Field] = {}
    for key in form.fields:
        if key in NAMES:
            widget = forms.TextInput(attrs={"autocomplete": _AUTOCOMPLETE[key]})
            found[key] = forms.CharField(
                label=NAMES[key], required=False, max_length=MAX_VALUE, widget=widget
            )
        elif key in custom:
            found[key] = input_of(custom[key], "")
    return found


class SignupFormEditor(forms.Form):
    """`version` says what the person has seen, empty for a new form."""

    name = forms.CharField(
        label=gettext_lazy("Name"),
        max_length=100,
        help_text=gettext_lazy("For your team only."),
    )
    title = forms.CharField(label=gettext_lazy("Title of the page"), max_length=150)
    intro = forms.CharField(
        label=gettext_lazy("What people get, and how often"),
        required=False,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
    )
    lists = forms.ModelMultipleChoiceField(
        label=gettext_lazy("Lists that they join"),
        queryset=ContactList.objects.none(),
        widget=forms.CheckboxSelectMultiple,
    )
    fields_asked = forms.MultipleChoiceField(
        label=gettext_lazy("What to ask beside the address"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
    consent = forms.CharField(
        label=gettext_lazy("Wording of the consent"),
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=gettext_lazy(
            "People tick a box beside it. It is kept with each consent as they saw it."
        ),
    )
    thanks = forms.CharField(
        label=gettext_lazy("Thanks after the confirmation"),
        required=False,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    from_name = forms.CharField(label=gettext_lazy("Sender name"), required=False, max_length=150)
    from_email = forms.CharField(
        label=gettext_lazy("Sender address"),
        max_length=254,
        widget=forms.EmailInput,
        help_text=gettext_lazy("The letter that asks for the confirmation comes from it."),
    )
    language = forms.ChoiceField(
        label=gettext_lazy("Language of the form and its letter"), choices=settings.LANGUAGES
    )
    version = forms.DateTimeField(required=False, widget=forms.HiddenInput)

    def __init__(self, data: Any = None, *, workspace: Workspace, form: SignupForm) -> None:
        initial = {
            "name": form.name,
            "title": form.title,
            "intro": form.intro,
            "lists": list(form.lists.all()) if form.pk else [],
            "fields_asked": form.fields,
            "consent": form.consent,
            "thanks": form.thanks,
            "from_name": form.from_name,
            "from_email": form.from_email,
            "language": form.language,
            "version": form.updated_at.isoformat() if form.pk else "",
        }
        super().__init__(data, initial=initial)
        lists = ContactList.objects.filter(workspace=workspace).order_by("name")
        self.fields["lists"].queryset = lists  # type: ignore[attr-defined]
        custom = ContactField.objects.filter(workspace=workspace).order_by("label", "key")
        self.fields["fields_asked"].choices = [  # type: ignore[attr-defined]
            *NAMES.items(),
            *((one.key, one.label) for one in custom),
        ]

    def clean_from_name(self) -> str:
        name: str = self.cleaned_data["from_name"]
        if CONTROL.search(name):
            raise ValidationError(gettext("The name may not hold line breaks."))
        return name

    def clean_title(self) -> str:
        return " ".join(CONTROL.sub(" ", self.cleaned_data["title"]).split())

    def clean_from_email(self) -> str:
        address = parse_address(self.cleaned_data["from_email"])
        if isinstance(address, Fault):
            raise ValidationError(gettext("This is not an email address."))
        return address.email

    def content(self) -> Content:
        data = self.cleaned_data
        return Content(
            name=data["name"],
            title=data["title"],
            intro=data["intro"],
            consent=data["consent"],
            thanks=data["thanks"],
            fields=data["fields_asked"],
            lists=list(data["lists"]),
            from_name=data["from_name"],
            from_email=data["from_email"],
            language=data["language"],
        )
