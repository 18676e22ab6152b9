from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext, override
from django.views.decorators.http import require_POST
from django.views.i18n import set_language

from apps.accounts.forms import ProfileForm
from apps.accounts.models import User


@login_required
def home(request: HttpRequest) -> HttpResponse:
    """To the dashboard of the person's first workspace."""
    assert isinstance(request.user, User)
    workspace = request.user.workspaces.order_by("name").first()
    if workspace is None:
        return render(request, "accounts/no_workspace.html")
    return redirect("tracking:dashboard", workspace.slug)


@login_required
def profile(request: HttpRequest) -> HttpResponse:
    assert isinstance(request.user, User)
    # The form writes to its instance even when it finds a fault; the page shows request.user.
    form = ProfileForm(request.POST or None, instance=User.objects.get(pk=request.user.pk))
    if request.method == "POST" and form.is_valid():
        user = form.save()
        with override(user.language or request.LANGUAGE_CODE):
            messages.success(request, gettext("Your profile is saved."))
        return redirect("accounts:profile")
    return render(request, "accounts/profile.html", {"form": form})


@require_POST
def language(request: HttpRequest) -> HttpResponseBase:
    """Django's switch of languages, remembered in the person's profile too."""
    chosen = request.POST.get("language", "")
    if request.user.is_authenticated and chosen in dict(settings.LANGUAGES):
        User.objects.filter(pk=request.user.pk).update(language=chosen)
    return set_language(request)
