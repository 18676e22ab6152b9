"""The editor's and the test send's forms. Services check again what must hold at launch."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.validators import RegexValidator
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Workspace
from apps.campaigns.models import Campaign
from apps.mailer.models import ContactList, Verdict
from apps.mailer.selectors import lists_with_counts

# A header is one line: a line break in it would start another header (RFC 5322, 2.2).
one_line = RegexValidator(r"[\x00-\x1f\x7f]", _("Use one line of text only."), inverse_match=True)

# An invalid address is never mailed, so it is no choice.
MAILABLE = [choice for choice in Verdict.choices if choice[0] != Verdict.INVALID]


class NewCampaignForm(forms.Form):
    """A campaign starts with the name that its team knows it by."""

    name = forms.CharField(
        label=_("Campaign name"),
        max_length=150,
        validators=[one_line],
        help_text=_("For you and your team. Recipients do not see it."),
        widget=forms.TextInput(attrs={"autofocus": True}),
    )


class CampaignForm(forms.Form):
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
    lists = forms.ModelMultipleChoiceField(
        label=_("Lists"),
        queryset=ContactList.objects.none(),
        required=False,
        widget=forms.CheckboxSelectMultiple(attrs={"class": "form-check-input"}),
    )
    include_verdicts = forms.MultipleChoiceField(
        label=_("Send to addresses that were found"),
        choices=MAILABLE,
        required=False,
        widget=forms.CheckboxSelectMultiple(attrs={"class": "form-check-input"}),
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
    version = forms.CharField(widget=forms.HiddenInput, required=False)

    def __init__(self, *args: Any, workspace: Workspace, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        lists = self.fields["lists"]
        assert isinstance(lists, forms.ModelMultipleChoiceField)
        lists.queryset = lists_with_counts(workspace).order_by("name")

    @classmethod
    def of(cls, campaign: Campaign) -> CampaignForm:
        """The form showing what is saved."""
        fields = ("name", "subject", "from_name", "from_email", "reply_to", "html", "text")
        saved: dict[str, Any] = {name: getattr(campaign, name) for name in fields}
        saved["lists"] = list(campaign.lists.values_list("pk", flat=True))
        saved["include_verdicts"] = campaign.include_verdicts
        saved["version"] = version(campaign)
        return cls(initial=saved, workspace=campaign.workspace)

    def content(self) -> dict[str, Any]:
        """What create_campaign and update_campaign take."""
        return {name: value for name, value in self.cleaned_data.items() if name != "version"}


class AudienceForm(forms.Form):
    """The part of the editor that decides who gets the letter."""

    lists = forms.ModelMultipleChoiceField(queryset=ContactList.objects.none(), required=False)
    include_verdicts = forms.MultipleChoiceField(choices=MAILABLE, required=False)

    def __init__(self, *args: Any, workspace: Workspace, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        lists = self.fields["lists"]
        assert isinstance(lists, forms.ModelMultipleChoiceField)
        lists.queryset = ContactList.objects.filter(workspace=workspace)


class TestSendForm(forms.Form):
    # pytest would otherwise take the class for a test.
    __test__ = False

    to = forms.EmailField(label=_("Send the test to"), max_length=254)


def version(campaign: Campaign) -> str:
    """Names one saved state of a campaign, to notice that somebody has saved another since."""
    return campaign.updated_at.isoformat()
