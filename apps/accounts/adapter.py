"""How sign-up and sign-in differ from django-allauth's defaults."""

from __future__ import annotations

from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings
from django.http import HttpRequest


class AccountAdapter(DefaultAccountAdapter):
    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Accounts are made by an operator unless SIGNUP_OPEN is set."""
        return bool(settings.SIGNUP_OPEN)
