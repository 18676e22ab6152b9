from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy

from apps.accounts.models import Workspace
from apps.mailer.models import Contact, ContactList, Import, Verdict


class ContactFilter(forms.Form):
    """The filters of the contacts page; one that makes no sense counts as not set."""

    search = forms.CharField(
        label=gettext_lazy("Search"),
        required=False,
        max_length=200,
        widget=forms.SearchInput(attrs={"placeholder": gettext_lazy("Email or name")}),
    )
    list = forms.ModelChoiceField(
        label=gettext_lazy("List"),
        queryset=ContactList.objects.none(),
        required=False,
        empty_label=gettext_lazy("All lists"),
    )
    verdict = forms.ChoiceField(
        label=gettext_lazy("Verdict"),
        required=False,
        choices=[
            ("", gettext_lazy("All verdicts")),
            *Verdict.choices,
            ("none", gettext_lazy("Not verified yet")),
        ],
    )
    status = forms.ChoiceField(
        label=gettext_lazy("Status"),
        required=False,
        choices=[("", gettext_lazy("All statuses")), *Contact.Status.choices],
    )
    of_import = forms.ModelChoiceField(
        queryset=Import.objects.none(), required=False, widget=forms.HiddenInput
    )

    def __init__(self, data: Any, *, workspace: Workspace) -> None:
        super().__init__(data)
        self.fields["list"].queryset = ContactList.objects.filter(workspace=workspace).order_by(  # type: ignore[attr-defined]
            "name"
        )
        self.fields["of_import"].queryset = Import.objects.filter(workspace=workspace)  # type: ignore[attr-defined]
        for name in ("list", "verdict", "status"):
            self.fields[name].widget.attrs["data-autosubmit"] = True
        self.is_valid()

    def chosen(self) -> dict[str, Any]:
        return {name: self.cleaned_data.get(name) for name in self.fields}


class ListForm(forms.Form):
    name = forms.CharField(label=gettext_lazy("Name"), max_length=100)


class SuppressionForm(forms.Form):
    # No EmailField: the service knows more kinds of addresses, and says what is wrong.
    email = forms.CharField(
        label=gettext_lazy("Email"),
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
    )
