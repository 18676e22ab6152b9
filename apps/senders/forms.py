from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.senders.models import Relay

LONGEST_PASSWORD = 8000  # an access token; AUTH takes 12,288 octets (RFC 4954 section 4)


class RelayForm(forms.ModelForm[Relay]):
    """The relay, without its stored password: that one is never shown again."""

    password = forms.CharField(
        label=_("Password"),
        max_length=LONGEST_PASSWORD,
        required=False,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    class Meta:
        model = Relay
        fields: ClassVar = [
            *("name", "host", "port", "security", "auth", "username"),
            *("weight", "max_connections", "max_messages", "max_age_seconds"),
            *("per_minute", "per_hour", "per_day"),
        ]
        widgets: ClassVar = {
            "host": forms.TextInput(
                attrs={"placeholder": "smtp.example.com", "spellcheck": "false"}
            ),
            "username": forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        }
        help_texts: ClassVar = {
            "name": _("What you call it; without a name its host is shown."),
            "weight": _("Its share of the mail: a relay of weight 2 gets twice that of weight 1."),
            "max_connections": _(
                "Each sending process opens up to this many. Ask your provider what it allows."
            ),
            "max_messages": _("After so many messages a connection is closed and a new one made."),
            "max_age_seconds": _("No connection is kept longer than this."),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.password_encrypted:
            self.fields["password"].help_text = _(
                "Leave it empty to keep the saved password. If you change host, port or "
                "security, enter the password again."
            )

    def content(self) -> dict[str, Any]:
        """What save_relay takes; an empty password means the saved one."""
        return self.cleaned_data | {"password": self.cleaned_data["password"] or None}


class DomainForm(forms.Form):
    name = forms.CharField(
        label=_("Domain"),
        max_length=253,
        help_text=_("What stands behind the @ of your From address."),
        widget=forms.TextInput(attrs={"placeholder": "example.com", "spellcheck": "false"}),
    )
