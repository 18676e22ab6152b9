from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.returns.models import Mailbox, Webhook

LONGEST_PASSWORD = 1000


class MailboxForm(forms.ModelForm[Mailbox]):
    """The mailbox, without its stored password: that one is never shown again."""

    password = forms.CharField(
        label=_("Password"),
        max_length=LONGEST_PASSWORD,
        required=False,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    class Meta:
        model = Mailbox
        fields: ClassVar = ["protocol", "host", "port", "security", "username", "enabled"]
        widgets: ClassVar = {
            "host": forms.TextInput(
                attrs={"placeholder": "imap.example.com", "spellcheck": "false"}
            ),
            "username": forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.password_encrypted:
            self.fields["password"].help_text = _(
                "Leave it empty to keep the saved password. If you change host, port or "
                "security, enter the password again."
            )

    def content(self) -> dict[str, Any]:
        """What save_mailbox takes; an empty password means the saved one."""
        return self.cleaned_data | {"password": self.cleaned_data["password"] or None}


class WebhookForm(forms.Form):
    provider = forms.ChoiceField(label=_("Provider"), choices=Webhook.Provider.choices)
    secret = forms.CharField(
        label=_("Key of its signatures"),
        max_length=LONGEST_PASSWORD,
        required=False,
        help_text=_(
            "Mailgun: the signing key of webhooks. SendGrid: the verification key. UniSender Go: "
            "the API key. Postmark, Brevo: a password of your choice that you add to the webhook "
            "there, or nothing. Amazon SES: nothing."
        ),
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )


class ReturnPathForm(forms.Form):
    return_path = forms.CharField(label=_("Return-path domain"), max_length=253, required=False)
