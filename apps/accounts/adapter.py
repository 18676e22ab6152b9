"""How sign-up and sign-in differ from django-allauth's defaults."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings
from django.http import HttpRequest

from apps.accounts.models import User
from apps.accounts.services import add_workspace


class AccountAdapter(DefaultAccountAdapter):
    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Accounts are made by an operator unless SIGNUP_OPEN is set."""
        return bool(settings.SIGNUP_OPEN)

    def save_user(self, request: HttpRequest, user: User, form: Any, commit: bool = True) -> User:
        """Whoever signs up gets a workspace of their own."""
        saved: User = super().save_user(request, user, form, commit)
        if commit:
            name = saved.email.partition("@")[0]
            add_workspace(owner=saved, name=name[:100])
        return saved
