"""`manage.py first_boot`: a demo workspace with a finished campaign in an empty installation."""

from __future__ import annotations

import secrets
import sys
from typing import Any

from django.conf import settings

from apps.accounts.models import Membership, User, Workspace
from apps.ops import demo
from core.cli import AppCommand
from core.local import runtime


class Command(AppCommand):
    help = "Create the demo workspace and run its campaign, once; print how to sign in."

    def handle(self, *args: Any, **options: Any) -> None:
        # In the embedded mode the password is kept beside the database, to be shown again.
        password = runtime.load().demo_password if settings.EMBEDDED else secrets.token_urlsafe(9)
        if not Workspace.objects.exists():
            self._run_demo(demo.demo_user(password))
        user = User.objects.filter(email="demo@sandbox.test").first()
        self.stdout.write(f"\nVashSender: {settings.BASE_URL}")
        if user and user.check_password(password):
            self.stdout.write(f"Sign in as {user.email} with the password {password}")
        self.stdout.flush()

    def _run_demo(self, user: User) -> None:
        workspace = Workspace.objects.create(name="Demo shop", slug="demo")
        Membership.objects.create(workspace=workspace, user=user, role=Membership.Role.OWNER)
        outcome = demo.run(workspace=workspace, by=user, recipients=demo.SAMPLE_RECIPIENTS)
        self.stdout.write(outcome.line)
        if not outcome.passed:
            sys.exit(1)
