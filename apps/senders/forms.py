from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.senders.models import Relay


class RelayForm(forms.ModelForm[Relay]):
    """The relay, without its stored password: that one is never shown again."""

    password = forms.CharField(
        label=_("Password"),
        max_length=500,
        required=False,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    class Meta:
        model = Relay
        fields: ClassVar = ["host", "port", "security", "username", "max_connections"]
        widgets: ClassVar = {
            "host": forms.TextInput(
                attrs={"placeholder": "smtp.example.com", "spellcheck": "false"}
            ),
            "username": forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        }
        help_texts: ClassVar = {
            "max_connections": _(
                "Each sending process opens up to this many. Ask your provider what it allows."
            ),
        }

    field_order = ("host", "port", "security", "username", "password", "max_connections")

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
