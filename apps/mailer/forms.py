from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.forms import BoundField
from django.http import QueryDict
from django.utils.translation import gettext, gettext_lazy

from apps.accounts.models import Workspace
from apps.mailer import selectors
from apps.mailer.messages import REASONS
from apps.mailer.models import BulkJob, Contact, ContactField, ContactList, Import, Verdict
from mailkit.imports.rows import MAX_VALUE, TARGETS, clean_value, field_key
from mailkit.providers import PROVIDERS

SKIP = ""
NEW_FIELD = "+"
NEW_LIST = "+"
# Boxes ticked on one page, with room for larger pages.
MOST_SELECTED = 1000


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
    tag = forms.CharField(label=gettext_lazy("Tag"), required=False, max_length=50)
    reason = forms.ChoiceField(
        label=gettext_lazy("Reason of the verdict"),
        required=False,
        choices=[("", gettext_lazy("All reasons")), *REASONS.items()],
    )
    provider = forms.ChoiceField(
        label=gettext_lazy("Mailbox provider"),
        required=False,
        choices=[
            ("", gettext_lazy("All providers")),
            *((one.key, one.label) for one in PROVIDERS.values()),
        ],
    )
    domain = forms.CharField(
        label=gettext_lazy("Domain"),
        required=False,
        max_length=254,
        widget=forms.TextInput(attrs={"placeholder": "example.com"}),
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
        for name in ("list", "verdict", "status", "reason", "provider"):
            self.fields[name].widget.attrs["data-autosubmit"] = True
        self.is_valid()

    def chosen(self) -> dict[str, Any]:
        return {name: self.cleaned_data.get(name) for name in self.fields}

    def filter(self) -> dict[str, Any]:
        """The arguments of selectors.contacts that are set, as JSON takes them."""
        chosen = self.chosen()
        names = ("search", "tag", "verdict", "reason", "status", "provider", "domain")
        found = {name: chosen[name] for name in names}
        found["list_id"] = chosen["list"].pk if chosen["list"] else None
        found["import_id"] = chosen["of_import"].pk if chosen["of_import"] else None
        return {name: value for name, value in found.items() if value}

    def more_fields(self) -> Iterator[BoundField]:
        """Those that are needed less often."""
        return (self[name] for name in ("tag", "reason", "provider", "domain"))

    def first_fields(self) -> Iterator[BoundField]:
        return (self[name] for name in ("search", "list", "verdict", "status"))

    @property
    def more_chosen(self) -> bool:
        return any(self.cleaned_data.get(field.name) for field in self.more_fields())


class BulkForm(forms.Form):
    """What to do with the contacts chosen on their page; `query` is that page's filter."""

    SELECTED, MATCHING = "selected", "matching"

    action = forms.ChoiceField(choices=BulkJob.Action)
    scope = forms.ChoiceField(choices=[(SELECTED, ""), (MATCHING, "")])
    ids = forms.TypedMultipleChoiceField(coerce=int, required=False)
    query = forms.CharField(required=False, max_length=2000)
    list = forms.ModelChoiceField(queryset=ContactList.objects.none(), required=False)
    tag = forms.CharField(required=False, max_length=50)
    format = forms.ChoiceField(
        choices=[("csv", "CSV"), ("xlsx", "Excel (XLSX)"), ("json", "JSON")], required=False
    )

    def __init__(self, data: QueryDict, *, workspace: Workspace) -> None:
        super().__init__(data)
        self.workspace = workspace
        lists = ContactList.objects.filter(workspace=workspace).order_by("name")
        self.fields["list"].queryset = lists  # type: ignore[attr-defined]
        numbers = [one for one in data.getlist("ids") if one.isascii() and one.isdigit()]
        known = [one for one in numbers[:MOST_SELECTED] if len(one) < 19]
        self.fields["ids"].choices = [(one, one) for one in known]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        """Adds `filter` and `arguments` of the job."""
        data = self.cleaned_data
        action = data.get("action")
        if data.get("scope") == self.SELECTED and not data.get("ids"):
            raise ValidationError(gettext("Choose contacts first: tick the boxes beside them."))
        arguments: dict[str, Any] = {}
        if action in {BulkJob.Action.ADD_TO_LIST, BulkJob.Action.REMOVE_FROM_LIST}:
            if not data.get("list"):
                raise ValidationError(gettext("Choose a list."))
            arguments["list"] = data["list"].pk
        elif action in {BulkJob.Action.TAG, BulkJob.Action.UNTAG}:
            arguments["tag"] = clean_tag(data.get("tag", ""))
        elif action == BulkJob.Action.EXPORT:
            arguments["format"] = data.get("format") or "csv"
        elif action not in {BulkJob.Action.UNSUBSCRIBE, BulkJob.Action.DELETE}:
            raise ValidationError(gettext("Choose what to do with the contacts."))
        if data.get("scope") == self.SELECTED:
            chosen: dict[str, Any] = {"ids": data.get("ids", [])}
        else:
            page = ContactFilter(QueryDict(data.get("query", "")), workspace=self.workspace)
            if page.errors:
                # Left out, as the page does, it would make more contacts match.
                raise ValidationError(
                    gettext("This filter cannot be used any more: look at the contacts again.")
                )
            chosen = page.filter()
        return {**data, "filter": chosen, "arguments": arguments}


def clean_tag(raw: str) -> str:
    """Raises ValidationError for what cannot be a tag."""
    tag = clean_value(raw)
    if not tag or len(tag) > 50 or "," in tag:
        raise ValidationError(gettext("A tag has 1 to 50 characters and no comma."))
    return tag


class ContactForm(forms.Form):
    """A contact's names, tags, lists and custom fields, each field by its kind.

    Custom fields are called `field_<key>`. `version` says what the person has seen.
    """

    first_name = forms.CharField(
        label=gettext_lazy("First name"), required=False, max_length=MAX_VALUE
    )
    last_name = forms.CharField(
        label=gettext_lazy("Last name"), required=False, max_length=MAX_VALUE
    )
    tags = forms.CharField(
        label=gettext_lazy("Tags"),
        required=False,
        max_length=2000,
        help_text=gettext_lazy("Separated by commas."),
    )
    lists = forms.ModelMultipleChoiceField(
        label=gettext_lazy("Lists"),
        queryset=ContactList.objects.none(),
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
    version = forms.DateTimeField(widget=forms.HiddenInput)

    def __init__(self, data: Any = None, *, contact: Contact) -> None:
        self.custom = list(
            ContactField.objects.filter(workspace=contact.workspace_id).order_by("label", "key")
        )
        initial = {
            "first_name": contact.first_name,
            "last_name": contact.last_name,
            "tags": ", ".join(contact.tags),
            "lists": list(contact.lists.all()),
            "version": contact.updated_at.isoformat(),
            **{f"field_{one.key}": contact.fields.get(one.key, "") for one in self.custom},
        }
        super().__init__(data, initial=initial)
        lists = ContactList.objects.filter(workspace=contact.workspace_id).order_by("name")
        self.fields["lists"].queryset = lists  # type: ignore[attr-defined]
        for one in self.custom:
            self.fields[f"field_{one.key}"] = _input_of(one, str(initial[f"field_{one.key}"]))

    def first_fields(self) -> Iterator[BoundField]:
        return (self[name] for name in ("first_name", "last_name"))

    def custom_fields(self) -> Iterator[BoundField]:
        return (self[f"field_{one.key}"] for one in self.custom)

    def clean_tags(self) -> list[str]:
        raw = self.cleaned_data["tags"].split(",")
        tags = dict.fromkeys(clean_tag(one) for one in raw if one.strip())
        if len(tags) > 100:
            raise ValidationError(gettext("At most 100 tags."))
        return list(tags)

    def values(self) -> dict[str, str]:
        """The custom fields as contacts keep them: text, "" for none."""
        found = {}
        for one in self.custom:
            value = self.cleaned_data[f"field_{one.key}"]
            if isinstance(value, date):
                value = value.isoformat()
            elif isinstance(value, Decimal):
                value = f"{value:f}"
            found[one.key] = clean_value(str(value)) if value is not None else ""
        return found


def _input_of(field: ContactField, value: str) -> forms.Field:
    kinds = ContactField.Kind
    options: dict[str, Any] = {"label": field.label, "required": False}
    if field.kind == kinds.NUMBER and _is_clean(forms.DecimalField(), value):
        return forms.DecimalField(**options, max_digits=40, widget=forms.TextInput)
    if field.kind == kinds.DATE and _is_clean(forms.DateField(), value):
        widget = forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
        return forms.DateField(**options, widget=widget)
    if field.kind in {kinds.YES_NO, kinds.CHOICE}:
        yes_no = [("yes", gettext("Yes")), ("no", gettext("No"))]
        listed = [(one, one) for one in field.choices]
        choices = yes_no if field.kind == kinds.YES_NO else listed
        # What stands there stays possible, though it came before the choices were made.
        if value and value not in dict(choices):
            choices = [*choices, (value, value)]
        return forms.ChoiceField(**options, choices=[("", "—"), *choices])
    return forms.CharField(**options, max_length=MAX_VALUE)


def _is_clean(field: forms.Field, value: str) -> bool:
    """Whether a stored value is one that an input of this kind could show."""
    try:
        field.clean(value or None) if value else None
    except ValidationError:
        return False
    return True


class EraseForm(forms.Form):
    email = forms.CharField(
        label=gettext_lazy("Type the address to confirm"),
        max_length=254,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def __init__(self, data: Any = None, *, contact: Contact) -> None:
        super().__init__(data)
        self.contact = contact

    def clean_email(self) -> str:
        typed: str = self.cleaned_data["email"].strip().lower()
        if typed != self.contact.email:
            raise ValidationError(gettext("This is not the contact's address."))
        return typed


class ListForm(forms.Form):
    name = forms.CharField(label=gettext_lazy("Name"), max_length=100)


class SuppressionForm(forms.Form):
    # No EmailField: the service knows more kinds of addresses, and says what is wrong.
    email = forms.CharField(
        label=gettext_lazy("Addresses or domains"),
        max_length=1_000_000,
        widget=forms.Textarea(attrs={"autocomplete": "off", "rows": 4}),
        help_text=gettext_lazy(
            "One a line, or with commas between. @example.com stands for the whole domain."
        ),
    )


class SuppressionFileForm(forms.Form):
    file = forms.FileField(label=gettext_lazy("File"))


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
