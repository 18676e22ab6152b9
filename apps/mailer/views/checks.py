"""Checking a list again, and what verdicts mean."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from apps.accounts.http import WorkspaceRequest
from apps.mailer.check_forms import VerifyListForm
from apps.mailer.messages import REASONS, VERDICTS
from apps.mailer.models import ContactList, Verdict
from apps.mailer.services.reverify import verify_list
from core.errors import InvalidInput
from mailkit.verify.verdict import REASONS as VERDICT_OF


@require_http_methods(["GET", "POST"])
def verify(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """Asks at which level and how old, then begins."""
    shown = get_object_or_404(ContactList, pk=pk, workspace=request.workspace)
    form = VerifyListForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            verify_list(contact_list=shown, **form.cleaned_data)
        except InvalidInput as error:
            form.add_error(None, error.message)
        else:
            return redirect("mailer:list", request.workspace.slug, pk)
    status = 422 if form.errors else 200
    return render(request, "mailer/list_verify.html", {"list": shown, "form": form}, status=status)


@require_safe
def progress(request: WorkspaceRequest, pk: int) -> HttpResponse:
    shown = get_object_or_404(ContactList, pk=pk, workspace=request.workspace)
    return render(request, "mailer/list_checks.html", {"list": shown})


@require_safe
def help_page(request: WorkspaceRequest) -> HttpResponse:
    """Every verdict and every reason in a sentence."""
    rows = [
        (
            verdict,
            label,
            VERDICTS[verdict],
            [(code, REASONS[code]) for code, of in VERDICT_OF.items() if of == verdict],
        )
        for verdict, label in Verdict.choices
    ]
    return render(request, "mailer/verdicts.html", {"verdicts": rows})
