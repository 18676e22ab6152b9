from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django import forms
from django.forms import BoundField
from django.utils.translation import gettext, gettext_lazy

from apps.accounts.models import Workspace
from apps.mailer import selectors
from apps.mailer.models import Contact, ContactField, ContactList, Import, Verdict
from mailkit.imports.rows import TARGETS, field_key

SKIP = ""
NEW_FIELD = "+"
NEW_LIST = "+"


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


class UploadForm(forms.Form):
    file = forms.FileField(
        label=gettext_lazy("File"),
        widget=forms.FileInput(attrs={"accept": ".csv,.tsv,.txt,.xlsx", "x-ref": "file"}),
    )


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the uploaded file with its two inputs."""

    header: str
    target: BoundField
    name: BoundField


class MappingForm(forms.Form):
    """Where each column of an uploaded file goes, into which list, and how to verify.

    Fields: `target_<n>` (a standard field, the key of a custom one, NEW_FIELD or SKIP) and
    `name_<n>` (the name of a new field) for each column n.
    """

    list = forms.ChoiceField(label=gettext_lazy("Into the list"))
    new_list = forms.CharField(label=gettext_lazy("Name of the new list"), max_length=100)
    level = forms.ChoiceField(
        label=gettext_lazy("Verification"), choices=Import.Level.choices, widget=forms.RadioSelect
    )

    def __init__(self, data: Any = None, *, job: Import, list_id: int | None = None) -> None:
        self.headers: list[str] = job.source["headers"]
        self.sample: list[list[str]] = job.source["sample"]
        self.custom = dict(
            ContactField.objects.filter(workspace=job.workspace_id)
            .order_by("label")
            .values_list("key", "label")
        )
        self.lists = {
            str(one.pk): one for one in ContactList.objects.filter(workspace=job.workspace_id)
        }
        super().__init__(data, initial=self._suggestion(job, list_id))
        self._add_list_choices()
        self._add_columns()
        # A hidden input cannot be required: clean() looks at it when it matters.
        self.fields["new_list"].required = False

    def _suggestion(self, job: Import, list_id: int | None) -> dict[str, Any]:
        values: dict[str, Any] = {
            "list": str(list_id) if str(list_id) in self.lists else NEW_LIST,
            "new_list": re.sub(r"[_\s]+", " ", Path(job.name).stem)[:100],
            "level": job.level,
        }
        for index, key in selectors.suggested_mapping(job).items():
            empty = not any(row[index].strip() for row in self.sample if index < len(row))
            known = key in TARGETS or key in self.custom
            is_skipped = self.sample and empty and key not in TARGETS
            values[f"target_{index}"] = SKIP if is_skipped else key if known else NEW_FIELD
            values[f"name_{index}"] = self.headers[index][:100] or gettext("Column %(number)d") % {
                "number": index + 1
            }
        return values

    def _add_list_choices(self) -> None:
        known = sorted((one.name, pk) for pk, one in self.lists.items())
        self.fields["list"].choices = [  # type: ignore[attr-defined]
            (NEW_LIST, gettext_lazy("New list…")),
            *((pk, name) for name, pk in known),
        ]
        self.fields["list"].widget.attrs |= {"x-ref": "choice", "x-on:change": "change"}

    def _add_columns(self) -> None:
        choices: list[tuple[str, Any]] = [
            (SKIP, gettext_lazy("Skip")),
            ("email", gettext_lazy("Email")),
            ("first_name", gettext_lazy("First name")),
            ("last_name", gettext_lazy("Last name")),
        ]
        if self.custom:
            choices.append((gettext("Your fields"), list(self.custom.items())))
        choices.append((NEW_FIELD, gettext("New field…")))
        for index, header in enumerate(self.headers):
            shown = header or gettext("Column %(number)d") % {"number": index + 1}
            self.fields[f"target_{index}"] = forms.ChoiceField(
                label=gettext("What “%(column)s” holds") % {"column": shown},
                choices=choices,
                required=False,
                widget=forms.Select(attrs={"x-ref": "choice", "x-on:change": "change"}),
            )
            self.fields[f"name_{index}"] = forms.CharField(
                label=gettext("Name of the new field for “%(column)s”") % {"column": shown},
                max_length=100,
                required=False,
            )

    def columns(self) -> Iterator[Column]:
        for index, header in enumerate(self.headers):
            yield Column(header, self[f"target_{index}"], self[f"name_{index}"])

    def clean(self) -> dict[str, Any]:
        """Adds `mapping` (column → key) and `labels` (key → name of a new field)."""
        data = self.cleaned_data
        mapping: dict[int, str] = {}
        labels: dict[str, str] = {}
        for index in range(len(self.headers)):
            key = data.get(f"target_{index}", SKIP)
            if key == NEW_FIELD:
                key, label = self._new_field(index)
                labels.setdefault(key, label)
            if not key:
                continue
            if key in mapping.values():
                self.add_error(f"target_{index}", gettext("Another column goes there already."))
            mapping[index] = key
        if "email" not in mapping.values() and not self.errors:
            self.add_error(None, gettext("Choose the column that holds the email address."))
        if data.get("list") == NEW_LIST and not data.get("new_list"):
            self.add_error("new_list", gettext("Give the list a name."))
        return {**data, "mapping": mapping, "labels": labels}

    def _new_field(self, index: int) -> tuple[str, str]:
        label = self.cleaned_data.get(f"name_{index}", "")
        if not label:
            self.add_error(f"name_{index}", gettext("Give the field a name."))
            return "", ""
        key = field_key(label) or f"column_{index + 1}"
        if key in TARGETS:
            self.add_error(
                f"name_{index}", gettext("This name is taken: choose the field in the list above.")
            )
            return "", ""
        return key, label
