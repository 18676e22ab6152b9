"""Sign-up forms as the public sees them. Nobody here has a session, so there are no cookies."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import translation
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from apps.mailer.models import SignupForm
from apps.tracking.forms import PublicSignup
from apps.tracking.services import signups
from core.http import client_address


# Forms on other people's sites post here too: there is nothing of the visitor's to protect.
@csrf_exempt
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def signup(request: HttpRequest, key: str) -> HttpResponse:
    """The form; sent from elsewhere or too fast it is shown filled in, to be sent by a person.

    Whatever becomes of an address, the answer is the same.
    """
    form = get_object_or_404(SignupForm.objects.select_related("workspace"), key=key)
    with translation.override(signups.language_of(form)):
        response = _answer(request, form)
        response["Content-Language"] = translation.get_language()
    return private(response)


def _answer(request: HttpRequest, form: SignupForm) -> HttpResponse:
    page = "tracking/signup.html"
    if request.method != "POST":
        return render(request, page, _page(form, PublicSignup(form=form)))
    filled = PublicSignup(request.POST, form=form)
    if signups.too_many_from(client_address(request)):
        return render(request, page, _page(form, filled, too_many=True), status=429)
    if not filled.is_valid():
        return render(request, page, _page(form, filled))
    caught = bool(filled.cleaned_data["website"])
    if not caught and not signups.is_fresh(form, request.POST.get("stamp", "")):
        return render(request, page, _page(form, filled, once_more=True))
    if not caught:
        signups.ask(
            form=form,
            email=filled.cleaned_data["email"],
            values=filled.values(),
            address=client_address(request),
        )
    context = {"form": form, "email": filled.cleaned_data["email"].email}
    return render(request, "tracking/signup_asked.html", context)


def _page(form: SignupForm, filled: PublicSignup, **more: bool) -> dict[str, object]:
    return {"form": form, "filled": filled, "stamp": signups.stamp(form), **more}


# The key in the address, which came by mail, is the authority.
@csrf_exempt
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def confirm(request: HttpRequest, key: str) -> HttpResponse:
    """GET only asks: mail scanners follow every link. POST subscribes."""
    found = signups.read_key(key)
    if found is None or found.form is None:
        return private(render(request, "tracking/confirm_unknown.html", status=404))
    with translation.override(signups.language_of(found.form)):
        done = request.method == "POST"
        if done:
            signups.confirm(signup=found, address=client_address(request))
        context = {"signup": found, "form": found.form, "done": done}
        response = render(request, "tracking/confirm.html", context)
        response["Content-Language"] = translation.get_language()
    return private(response)


def private(response: HttpResponse) -> HttpResponse:
    """The address must not travel on in a Referer, nor into a search engine."""
    response["Referrer-Policy"] = "no-referrer"
    response["X-Robots-Tag"] = "noindex"
    return response
