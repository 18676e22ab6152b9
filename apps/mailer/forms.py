from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.forms import BoundField
from django.forms.utils import flatatt
from django.http import QueryDict
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext, gettext_lazy

from apps.accounts.models import Workspace
from apps.mailer.messages import REASONS
from apps.mailer.models import BulkJob, Contact, ContactField, ContactList, Import, Verdict
from mailkit.imports.rows import MAX_VALUE, clean_value
from mailkit.providers import PROVIDERS

SKIP = ""
NEW_FIELD = "+"
NEW_LIST = "+"
# Boxes ticked on one page, with room for larger pages.
MOST_SELECTED = 1000


class PlainSelect(forms.Select):
    """Drawn as one piece: a hundred options by a template of its own each take 10 ms."""

    def render(
        self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: Any = None
    ) -> SafeString:
        chosen = {str(one) for one in self.format_value(value)}
        options = format_html_join(
            "",
            '<option value="{}"{}>{}</option>',
            (
                (key, mark_safe(" selected") if str(key) in chosen else "", label)
                for key, label in self.choices
            ),
        )
        given = flatatt({"name": name, **self.build_attrs(self.attrs, attrs)})
        return format_html("<select{}>{}</select>", given, options)


class ContactFilter(forms.Form):
    """The filters of the contacts page; one that makes no sense counts as not set."""

    search = forms.CharField(
        label=gettext_lazy("Search"),
        required=False,
        max_length=200,
        widget=forms.SearchInput(attrs={"placeholder": gettext_lazy("Email or name")}),
    )
    list = forms.TypedChoiceField(
        label=gettext_lazy("List"),
        required=False,
        coerce=int,
        empty_value=None,
        widget=PlainSelect,
    )
    verdict = forms.ChoiceField(
        widget=PlainSelect,
        label=gettext_lazy("Verdict"),
        required=False,
        choices=[
            ("", gettext_lazy("All verdicts")),
            *Verdict.choices,
            ("none", gettext_lazy("Not verified yet")),
        ],
    )
    status = forms.ChoiceField(
        widget=PlainSelect,
        label=gettext_lazy("Status"),
        required=False,
        choices=[("", gettext_lazy("All statuses")), *Contact.Status.choices],
    )
    tag = forms.CharField(label=gettext_lazy("Tag"), required=False, max_length=50)
    reason = forms.ChoiceField(
        widget=PlainSelect,
        label=gettext_lazy("Reason of the verdict"),
        required=False,
        choices=[("", gettext_lazy("All reasons")), *REASONS.items()],
    )
    provider = forms.ChoiceField(
        widget=PlainSelect,
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
        lists = ContactList.objects.filter(workspace=workspace).order_by("name")
        self.lists = list(lists.values_list("pk", "name"))
        self.fields["list"].choices = [("", gettext("All lists")), *self.lists]  # type: ignore[attr-defined]
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
        found["list_id"] = chosen["list"]
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
            self.fields[f"field_{one.key}"] = input_of(one, str(initial[f"field_{one.key}"]))

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
            found[one.key] = text_of(self.cleaned_data[f"field_{one.key}"])
        return found


def text_of(value: Any) -> str:
    """What an input of `input_of` holds, as contacts keep it."""
    if isinstance(value, date):
        value = value.isoformat()
    elif isinstance(value, Decimal):
        value = f"{value:f}"
    return clean_value(str(value)) if value is not None else ""


def input_of(field: ContactField, value: str) -> forms.Field:
    """The input for a custom field, by its kind; `value` is what the contact has."""
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


class PublicNameForm(forms.Form):
    public_name = forms.CharField(
        label=gettext_lazy("Name for recipients"),
        required=False,
        max_length=100,
        help_text=gettext_lazy(
            "With a name, recipients can join and leave the list on the page behind the "
            "unsubscribe link. Without one they do not see it."
        ),
    )


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
