"""The editor's and the test send's forms. Services check again what must hold at launch."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.core.validators import RegexValidator
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Workspace
from apps.campaigns.models import Campaign
from apps.mailer.models import ContactList, Segment, Verdict
from apps.mailer.selectors import lists_with_counts
from mailkit.verify import REASONS

# A header is one line: a line break in it would start another header (RFC 5322, 2.2).
one_line = RegexValidator(r"[\x00-\x1f\x7f]", _("Use one line of text only."), inverse_match=True)

# An invalid address is never mailed, so it is no choice.
MAILABLE = [choice for choice in Verdict.choices if choice[0] != Verdict.INVALID]


# The four choices that make a campaign's targets, and what each is chosen from.
TARGETS: dict[str, tuple[Any, type[ContactList] | type[Segment]]] = {
    "lists": (_("Lists"), ContactList),
    "segments": (_("Segments"), Segment),
    "excluded_lists": (_("Lists to leave out"), ContactList),
    "excluded_segments": (_("Segments to leave out"), Segment),
}


def _target(name: str) -> forms.Field:
    label, model = TARGETS[name]
    return forms.ModelMultipleChoiceField(
        label=label,
        queryset=model.objects.none(),
        required=False,
        widget=forms.CheckboxSelectMultiple(attrs={"class": "form-check-input"}),
    )


class TargetsForm(forms.Form):
    """Whom a campaign is for and whom it leaves out, of one workspace."""

    lists = _target("lists")
    segments = _target("segments")
    excluded_lists = _target("excluded_lists")
    excluded_segments = _target("excluded_segments")

    def __init__(self, *args: Any, workspace: Workspace, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, (_label, model) in TARGETS.items():
            field = self.fields[name]
            assert isinstance(field, forms.ModelMultipleChoiceField)
            field.queryset = model.objects.filter(workspace=workspace).order_by("name")


def _utm(label: Any, example: str) -> forms.CharField:
    return forms.CharField(
        label=label,
        max_length=150,
        required=False,
        validators=[one_line],
        widget=forms.TextInput(attrs={"placeholder": example}),
    )


class NewCampaignForm(forms.Form):
    """A campaign starts with the name that its team knows it by."""

    name = forms.CharField(
        label=_("Campaign name"),
        max_length=150,
        validators=[one_line],
        help_text=_("For you and your team. Recipients do not see it."),
        widget=forms.TextInput(attrs={"autofocus": True}),
    )


class LetterForm(forms.Form):
    """The letter in an editor: a design where its HTML is made from one, else the HTML."""

    design = forms.CharField(
        label=_("Letter"), required=False, strip=False, widget=forms.Textarea(attrs={"rows": 18})
    )
    html = forms.CharField(
        label=_("HTML"), required=False, strip=False, widget=forms.Textarea(attrs={"rows": 18})
    )
    text = forms.CharField(
        label=_("Plain text"),
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 10}),
        help_text=_("For mail programs that show no HTML. Left empty, it is made from the HTML."),
    )


class CampaignForm(TargetsForm, LetterForm):
    """All of a draft. Only the name is required: a draft may be unfinished."""

    name = forms.CharField(
        label=_("Campaign name"),
        max_length=150,
        validators=[one_line],
        help_text=_("For you and your team. Recipients do not see it."),
    )
    subject = forms.CharField(
        label=_("Subject"), max_length=500, required=False, validators=[one_line]
    )
    from_name = forms.CharField(
        label=_("Sender name"), max_length=150, required=False, validators=[one_line]
    )
    from_email = forms.EmailField(label=_("Sender address"), max_length=254, required=False)
    reply_to = forms.EmailField(
        label=_("Reply to"),
        max_length=254,
        required=False,
        help_text=_("Leave it empty to get replies at the sender address."),
    )
    include_verdicts = forms.MultipleChoiceField(
        label=_("Send to addresses that were found"),
        choices=MAILABLE,
        required=False,
        widget=forms.CheckboxSelectMultiple(attrs={"class": "form-check-input"}),
    )
    track_opens = forms.BooleanField(
        label=_("Count opens"),
        required=False,
        help_text=_("By a picture of one pixel. Some mail programs load it by themselves."),
    )
    track_clicks = forms.BooleanField(
        label=_("Count clicks"),
        required=False,
        help_text=_("Links lead through this service and on to where you set them."),
    )
    preheader = forms.CharField(
        label=_("Preheader"),
        max_length=200,
        required=False,
        validators=[one_line],
        help_text=_("Shown behind the subject in lists of letters. It may hold fields."),
    )
    view_online = forms.BooleanField(
        label=_("Link to view it in a browser"),
        required=False,
        help_text=_("At the top of the letter, or where you put the field view_url."),
    )
    utm_source = _utm(_("Source"), "newsletter")
    utm_medium = _utm(_("Medium"), "email")
    utm_campaign = _utm(_("Campaign"), "spring-sale")
    utm_term = _utm(_("Term"), "")
    utm_content = _utm(_("Content"), "")
    version = forms.CharField(widget=forms.HiddenInput, required=False)

    def __init__(self, *args: Any, workspace: Workspace, **kwargs: Any) -> None:
        super().__init__(*args, workspace=workspace, **kwargs)
        lists = self.fields["lists"]
        assert isinstance(lists, forms.ModelMultipleChoiceField)
        lists.queryset = lists_with_counts(workspace).order_by("name")

    @classmethod
    def of(cls, campaign: Campaign) -> CampaignForm:
        """The form showing what is saved."""
        fields = (
            *("name", "subject", "from_name", "from_email", "reply_to"),
            *("design", "html", "text"),
        )
        saved: dict[str, Any] = {name: getattr(campaign, name) for name in fields}
        for name in TARGETS:
            saved[name] = list(getattr(campaign, name).values_list("pk", flat=True))
        saved["include_verdicts"] = campaign.include_verdicts
        saved |= {name: getattr(campaign, name) for name in ("track_opens", "track_clicks")}
        saved |= {"preheader": campaign.preheader, "view_online": campaign.view_online}
        saved |= campaign.utm
        saved["version"] = version(campaign)
        return cls(initial=saved, workspace=campaign.workspace)

    def content(self) -> dict[str, Any]:
        """What create_campaign and update_campaign take.

        Of the letter only what the page had: in the builder's mode it has none of it.
        """
        absent = {"version"} | {name for name in ("design", "html") if name not in self.data}
        content = {name: value for name, value in self.cleaned_data.items() if name not in absent}
        utm = {name: content.pop(name) for name in self.UTM}
        return content | {"utm": utm}

    UTM = ("utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content")

    @property
    def utm(self) -> list[forms.BoundField]:
        return [self[name] for name in self.UTM]

    @property
    def has_utm(self) -> bool:
        return any(field.value() or field.errors for field in self.utm)


class AudienceForm(TargetsForm):
    """The part of the editor that decides who gets the letter."""

    include_verdicts = forms.MultipleChoiceField(choices=MAILABLE, required=False)
    left_out_reasons = forms.MultipleChoiceField(
        choices=[(code, code) for code in REASONS], required=False
    )
    not_opened = forms.ModelChoiceField(queryset=Campaign.objects.none(), required=False)

    def __init__(self, *args: Any, workspace: Workspace, **kwargs: Any) -> None:
        super().__init__(*args, workspace=workspace, **kwargs)
        not_opened = self.fields["not_opened"]
        assert isinstance(not_opened, forms.ModelChoiceField)
        not_opened.queryset = Campaign.objects.filter(workspace=workspace)


class LaunchForm(forms.Form):
    """When a campaign goes: now or at a time, and in which hours of the day."""

    NOW, LATER = "now", "later"

    when = forms.ChoiceField(
        label=_("When"),
        choices=[(NOW, _("Send now")), (LATER, _("Schedule"))],
        initial=NOW,
        required=False,
        widget=forms.RadioSelect,
    )
    date = forms.DateField(
        label=_("Date"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
    )
    time = forms.TimeField(
        label=_("Time"),
        required=False,
        widget=forms.TimeInput(attrs={"type": "time"}, format="%H:%M"),
    )
    recipient_time = forms.BooleanField(
        label=_("In each recipient's own time zone"), required=False
    )
    hours_from = forms.TypedChoiceField(
        label=_("Send only from"), coerce=int, empty_value=None, required=False
    )
    hours_until = forms.TypedChoiceField(
        label=_("until"), coerce=int, empty_value=None, required=False
    )
    zone = forms.CharField(widget=forms.HiddenInput, required=False)
    version = forms.CharField(widget=forms.HiddenInput, required=False)

    def __init__(self, *args: Any, zone: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.time_zone = zone
        for name, hours in (("hours_from", range(24)), ("hours_until", range(1, 25))):
            field = self.fields[name]
            assert isinstance(field, forms.TypedChoiceField)
            field.choices = [("", _("any hour")), *((hour, f"{hour}:00") for hour in hours)]

    @classmethod
    def of(cls, campaign: Campaign, zone: str) -> LaunchForm:
        """The form with what was chosen before."""
        names = ("recipient_time", "hours_from", "hours_until")
        saved: dict[str, Any] = {name: getattr(campaign, name) for name in names}
        return cls(initial=saved | {"zone": zone, "version": version(campaign)}, zone=zone)

    def clean(self) -> dict[str, Any]:
        found = self.cleaned_data
        if self.later:
            for name in ("date", "time"):
                if name not in self.errors and not found.get(name):
                    self.add_error(name, _("Say when."))
            if found.get("zone") and found["zone"] != self.time_zone:
                raise forms.ValidationError(
                    _("The workspace's time zone has changed meanwhile: look at the time again.")
                )
        return found

    @property
    def later(self) -> bool:
        return self.data.get("when") == self.LATER

    @property
    def wall(self) -> datetime:
        """The time on the wall, without a zone."""
        return datetime.combine(self.cleaned_data["date"], self.cleaned_data["time"])

    @property
    def hours(self) -> tuple[int, int] | None:
        begin, end = self.cleaned_data["hours_from"], self.cleaned_data["hours_until"]
        if begin is None and end is None:
            return None
        return begin or 0, 24 if end is None else end


class TestSendForm(forms.Form):
    # pytest would otherwise take the class for a test.
    __test__ = False

    to = forms.EmailField(label=_("Send the test to"), max_length=254)


def version(campaign: Campaign) -> str:
    """Names one saved state of a campaign, to notice that somebody has saved another since."""
    return campaign.updated_at.isoformat()


def version_to_launch(campaign: Campaign) -> str:
    """Likewise, with the files, which are no part of what the editor saves."""
    files = campaign.attachments.values_list("pk", flat=True)
    return " ".join([version(campaign), *map(str, files)])
