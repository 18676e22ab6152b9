"""Where each app's pages live."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from core.secrets import installation


def healthz(request: HttpRequest) -> HttpResponse:
    """Alive: answers without touching the database, and says which installation this is."""
    return HttpResponse("ok", content_type="text/plain", headers={"X-Installation": installation()})


handler400 = "core.errors.bad_request"

_workspace_pages = [
    path("", include("apps.tracking.urls")),
    path("audience/", include("apps.mailer.urls")),
    path("campaigns/", include("apps.campaigns.urls")),
    path("templates/", include("apps.content.urls")),
    path("senders/returns/", include("apps.returns.urls")),
    path("senders/", include("apps.senders.urls")),
    path("sandbox/", include("apps.sandbox.urls")),
    path("", include("apps.accounts.workspace_urls")),
]

urlpatterns = [
    path("healthz", healthz, name="healthz"),
    path("", include("apps.accounts.urls")),
    path("accounts/", include("allauth.account.urls")),
    path("w/<slug:workspace>/", include(_workspace_pages)),
    path("ops/", include("apps.ops.urls")),
    path("", include("apps.tracking.public_urls")),
    path("", include("apps.content.public_urls")),
    path("", include("apps.campaigns.public_urls")),
    path("hooks/", include("apps.returns.public_urls")),
    path("admin/", admin.site.urls),
]
