"""Forms of an import: the upload and what each column holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django import forms
from django.forms import BoundField
from django.utils.translation import gettext, gettext_lazy

from apps.mailer import selectors
from apps.mailer.models import ContactField, ContactList, Import
from apps.mailer.services import imports as services
from apps.mailer.services.imports import NewField
from mailkit.imports.kinds import MOST_CHOICES
from mailkit.imports.rows import TARGETS, field_key
from mailkit.imports.suggest import suggest_field_kind

SKIP = ""
NEW_FIELD = "+"
NEW_LIST = "+"
EXAMPLES = 3
ACCEPTED = ".csv,.tsv,.tab,.txt,.xlsx,.xlsm,.xls,.ods,.json,.jsonl,.ndjson,.vcf,.gz,.zip"


class UploadForm(forms.Form):
    """A file, or pasted contacts where there is none."""

    file = forms.FileField(
        label=gettext_lazy("File"),
        required=False,
        widget=forms.FileInput(attrs={"accept": ACCEPTED, "x-ref": "file"}),
    )
    text = forms.CharField(
        label=gettext_lazy("Or paste contacts"),
        required=False,
        strip=False,
        help_text=gettext_lazy(
            "One address a line, “Name <address>”, or cells copied from a spreadsheet."
        ),
        widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}),
    )

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        if not self.errors and not data.get("file") and not data.get("text", "").strip():
            self.add_error("file", gettext("Choose a file, or paste contacts below."))
        return data


class ReadingForm(forms.Form):
    """How a text file is read, where what was found out is wrong."""

    encoding = forms.ChoiceField(
        label=gettext_lazy("Encoding"),
        choices=[
            ("utf-8", "UTF-8"),
            ("utf-8-sig", gettext_lazy("UTF-8 with a mark")),
            ("utf-16", "UTF-16"),
            ("utf-16-le", "UTF-16 LE"),
            ("utf-16-be", "UTF-16 BE"),
            ("cp1251", "Windows-1251"),
            ("koi8-r", "KOI8-R"),
            ("cp1252", gettext_lazy("Latin-1 (Windows-1252)")),
        ],
    )
    delimiter = forms.ChoiceField(
        label=gettext_lazy("Columns are separated by"),
        required=False,
        choices=[
            (",", gettext_lazy("Comma")),
            (";", gettext_lazy("Semicolon")),
            ("tab", gettext_lazy("Tab")),
            ("|", gettext_lazy("Bar |")),
            (":", gettext_lazy("Colon")),
            ("^", "^"),
            ("~", "~"),
        ],
    )

    def __init__(self, data: Any = None, *, job: Import) -> None:
        found = job.source["delimiter"]
        super().__init__(
            data,
            initial={
                "encoding": job.source["encoding"],
                "delimiter": "tab" if found == "\t" else found,
            },
        )
        if job.source["kind"] != "csv":
            del self.fields["delimiter"]

    def clean_delimiter(self) -> str:
        delimiter: str = self.cleaned_data["delimiter"]
        return "\t" if delimiter == "tab" else delimiter


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the uploaded file with its inputs and the first of its values."""

    header: str
    examples: tuple[str, ...]
    target: BoundField
    name: BoundField
    kind: BoundField
    choices: BoundField


class MappingForm(forms.Form):
    """Where each column of an uploaded file goes, into which list, and how to verify.

    Fields for each column n: `target_<n>` (a standard field, the key of a custom one, NEW_FIELD
    or SKIP) and of a new field `name_<n>`, `kind_<n>` and `choices_<n>`, separated by commas.
    """

    list = forms.ChoiceField(label=gettext_lazy("Into the list"))
    new_list = forms.CharField(label=gettext_lazy("Name of the new list"), max_length=100)
    more_lists = forms.MultipleChoiceField(
        label=gettext_lazy("And into these lists"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
    tags = forms.CharField(
        label=gettext_lazy("Tags"),
        required=False,
        max_length=1000,
        help_text=gettext_lazy("Separated by commas; every contact of the file gets them."),
    )
    policy = forms.ChoiceField(
        label=gettext_lazy("Contacts that are known already"),
        choices=Import.Policy.choices,
        widget=forms.RadioSelect,
        required=False,
    )
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
        if not self.lists:
            del self.fields["more_lists"]

    def _suggestion(self, job: Import, list_id: int | None) -> dict[str, Any]:
        values: dict[str, Any] = {
            "list": str(list_id) if str(list_id) in self.lists else NEW_LIST,
            "new_list": re.sub(r"[_\s]+", " ", Path(job.name).stem)[:100],
            "level": job.level,
            "policy": job.policy,
        }
        last = services.remembered(job)
        self.is_remembered = last is not None
        if last:
            values |= {"level": last.level, "policy": last.policy}
        for index, key in selectors.suggested_mapping(job).items():
            empty = not any(row[index].strip() for row in self.sample if index < len(row))
            known = key in TARGETS or key in self.custom
            is_skipped = self.sample and empty and key not in TARGETS
            values[f"target_{index}"] = SKIP if is_skipped else key if known else NEW_FIELD
            if last:
                before = last.mapping.get(str(index), SKIP)
                gone = before and before not in TARGETS and before not in self.custom
                values[f"target_{index}"] = NEW_FIELD if gone else before
            values[f"name_{index}"] = self.headers[index][:100] or _numbered(index)
            cells = [row[index] for row in self.sample if index < len(row)]
            kind: str = suggest_field_kind(self.headers[index], cells)
            values[f"kind_{index}"] = kind
            if kind == ContactField.Kind.CHOICE:
                distinct = dict.fromkeys(" ".join(cell.split()) for cell in cells)
                words = [word for word in distinct if word and "," not in word]
                values[f"choices_{index}"] = ", ".join(words[:MOST_CHOICES])
        return values

    def _add_list_choices(self) -> None:
        known = sorted((one.name, pk) for pk, one in self.lists.items())
        self.fields["list"].choices = [  # type: ignore[attr-defined]
            (NEW_LIST, gettext_lazy("New list…")),
            *((pk, name) for name, pk in known),
        ]
        self.fields["more_lists"].choices = [(pk, name) for name, pk in known]  # type: ignore[attr-defined]
        self.fields["list"].widget.attrs |= {"x-ref": "choice", "x-on:change": "change"}

    def _add_columns(self) -> None:
        choices: list[tuple[str, Any]] = [
            (SKIP, gettext_lazy("Do not import")),
            ("email", gettext_lazy("Email")),
            ("first_name", gettext_lazy("First name")),
            ("last_name", gettext_lazy("Last name")),
        ]
        if self.custom:
            choices.append((gettext("Your fields"), list(self.custom.items())))
        choices.append((NEW_FIELD, gettext("New field…")))
        for index, header in enumerate(self.headers):
            shown = header or _numbered(index)
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
            self.fields[f"kind_{index}"] = forms.ChoiceField(
                label=gettext("Kind of the new field for “%(column)s”") % {"column": shown},
                choices=ContactField.Kind.choices,
                required=False,
                widget=forms.Select(attrs={"x-ref": "choice", "x-on:change": "change"}),
            )
            self.fields[f"choices_{index}"] = forms.CharField(
                label=gettext("Choices of “%(column)s”, separated by commas") % {"column": shown},
                max_length=5000,
                required=False,
            )

    def columns(self) -> Iterator[Column]:
        for index, header in enumerate(self.headers):
            names = ("target", "name", "kind", "choices")
            cells = (" ".join(row[index].split()) for row in self.sample if index < len(row))
            yield Column(
                header or _numbered(index),
                tuple(dict.fromkeys(filter(None, cells)))[:EXAMPLES],
                *(self[f"{name}_{index}"] for name in names),
            )

    def clean(self) -> dict[str, Any]:
        """Adds `mapping` (column → key) and `new_fields` (key → what is to be made)."""
        data = self.cleaned_data
        mapping: dict[int, str] = {}
        new: dict[str, NewField] = {}
        for index in range(len(self.headers)):
            key = data.get(f"target_{index}", SKIP)
            if key == NEW_FIELD:
                key, label = self._new_field(index)
                new.setdefault(key, self._made(index, label))
            if not key:
                continue
            if key in mapping.values():
                self.add_error(f"target_{index}", gettext("Another column goes there already."))
            mapping[index] = key
        if "email" not in mapping.values() and not self.errors:
            self.add_error(None, gettext("Choose the column that holds the email address."))
        if data.get("list") == NEW_LIST and not data.get("new_list"):
            self.add_error("new_list", gettext("Give the list a name."))
        data["policy"] = data.get("policy") or Import.Policy.OVERWRITE
        data["tags"] = [tag for tag in map(str.strip, data.get("tags", "").split(",")) if tag]
        return {**data, "mapping": mapping, "new_fields": new}

    def _made(self, index: int, label: str) -> NewField:
        kind = self.cleaned_data.get(f"kind_{index}") or ContactField.Kind.TEXT
        words = map(str.strip, self.cleaned_data.get(f"choices_{index}", "").split(","))
        choices = tuple(word for word in words if word)
        if kind == ContactField.Kind.CHOICE and not choices:
            self.add_error(f"choices_{index}", gettext("Name the choices, separated by commas."))
        return NewField(label, kind, choices)

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


def _numbered(index: int) -> str:
    """What a column without a header is called."""
    return gettext("Column %(number)d") % {"number": index + 1}
