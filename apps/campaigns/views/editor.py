"""The editor's views: the draft, its preview and its test sends."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_GET, require_http_methods

from apps.accounts.http import WorkspaceRequest
from apps.campaigns.forms import CampaignForm, TestSendForm, version
from apps.campaigns.letters import Preview
from apps.campaigns.models import Campaign, TestSend
from apps.campaigns.preflight import field_warnings
from apps.campaigns.services.campaigns import update_campaign
from apps.campaigns.services.testing import preview as render_preview
from apps.campaigns.services.testing import send_test
from apps.campaigns.views.attachments import attached
from apps.campaigns.views.campaigns import campaign_or_404, to_page
from apps.content.models import Editor
from apps.content.services.letters import html_of, stored_design
from apps.content.views.preview import letter_document
from apps.content.views.templates import editor_context
from apps.mailer.models import Contact
from apps.senders.selectors import has_relay
from core.errors import AppError, Conflict, InvalidInput

SHOWN_TESTS = 5

# Where the editor's save buttons lead.
NEXT_PAGES = {
    "test": "test_send",
    "launch": "launch",
    "builder": "builder",
    "mode": "mode",
}


@require_http_methods(["GET", "POST"])
def edit(request: WorkspaceRequest, pk: int) -> HttpResponse:
    campaign = campaign_or_404(request, pk)
    if not campaign.is_draft:
        messages.info(
            request,
            _("This campaign is scheduled: make it a draft again to change it.")
            if campaign.is_scheduled
            else _("This campaign has been launched: its letter cannot change."),
        )
        return to_page("detail", campaign, request)
    if request.method == "GET":
        return _editor(request, campaign, CampaignForm.of(campaign))
    # The page saves by itself now and then, and shows what the answer says.
    wants_json = request.headers.get("Accept", "").startswith("application/json")
    form = CampaignForm(request.POST, workspace=request.workspace)
    if not form.is_valid():
        if wants_json:
            return JsonResponse({"errors": form.errors}, status=422)
        return _editor(request, campaign, form, status=422)
    if form.cleaned_data["version"] != version(campaign):
        if wants_json:
            raise Conflict(_("This draft was changed elsewhere. Save it to see what to do."))
        return _stale_editor(request, campaign)
    try:
        update_campaign(campaign=campaign, **form.content())
    except Conflict:
        if wants_json:
            raise
        # Saved or launched elsewhere since the lines above have read it.
        return _stale_editor(request, campaign_or_404(request, pk))
    except InvalidInput as error:
        if wants_json:
            raise
        form.add_error(None, error.message)
        return _editor(request, campaign_or_404(request, pk), form, status=422)
    if wants_json:
        return JsonResponse({"version": version(campaign)})
    for sentence in field_warnings(campaign):
        messages.warning(request, sentence)
    if next_page := NEXT_PAGES.get(request.POST.get("next", "")):
        return to_page(next_page, campaign, request)
    messages.success(request, _("The draft is saved."))
    return to_page("edit", campaign, request)


def _stale_editor(request: WorkspaceRequest, campaign: Campaign) -> HttpResponse:
    """What was written, not saved. The page carries the version of now: saving once more is a
    decision, and goes through."""
    if not campaign.is_draft:
        raise Conflict(_("This campaign was launched: its content cannot change any more."))
    data = request.POST.copy()
    data["version"] = version(campaign)
    form = CampaignForm(data, workspace=request.workspace)
    return _editor(request, campaign, form, status=409, stale=True)


def _editor(
    request: WorkspaceRequest,
    campaign: Campaign,
    form: CampaignForm,
    *,
    status: int = 200,
    stale: bool = False,
) -> HttpResponse:
    context = {
        "form": form,
        "stale": stale,
        **attached(campaign),
        **editor_context(request, campaign.editor),
        "preview_url": reverse("campaigns:preview", args=[request.workspace.slug, campaign.pk]),
    }
    return render(request, "campaigns/edit.html", context, status=status)


@require_http_methods(["GET", "POST"])
@xframe_options_sameorigin
def preview(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """The letter as a document for the editor's frame: what is posted, else what is saved."""
    campaign = _with_posted_content(request, campaign_or_404(request, pk))
    try:
        letter = _preview(request, campaign)
        html = letter.html or format_html("<pre>{}</pre>", letter.text)
    except AppError as error:
        html = format_html("<p>{}</p>", error.message)
    return letter_document(html, dark="dark" in request.POST)


@require_http_methods(["GET", "POST"])
def preview_text(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """The subject and the plain text of the same letter, as a fragment."""
    campaign = _with_posted_content(request, campaign_or_404(request, pk))
    context: dict[str, Any] = {"campaign": campaign, "unknown_contact": ""}
    try:
        context["preview"] = _preview(request, campaign)
    except AppError as error:
        context["error"] = error
    chosen = _preview_as(request)
    if chosen and not _contact(request, chosen):
        context["unknown_contact"] = chosen
    return render(request, "campaigns/_preview_text.html", context)


def _with_posted_content(request: WorkspaceRequest, campaign: Campaign) -> Campaign:
    """The campaign with the form's content, unsaved and unchecked: drafts are often half-done."""
    for name in ("subject", "design", "html", "text"):
        if name in request.POST:
            setattr(campaign, name, request.POST[name])
    # The preview shows no sender, and must not wait for one.
    campaign.from_name, campaign.from_email, campaign.reply_to = "", "sender@example.com", ""
    return campaign


def _preview(request: WorkspaceRequest, campaign: Campaign) -> Preview:
    if "design" in request.POST and campaign.editor != Editor.HTML:
        design = stored_design(editor=campaign.editor, design=campaign.design)
        campaign.html = html_of(editor=campaign.editor, design=design)
    return render_preview(campaign=campaign, contact=_contact(request, _preview_as(request)))


def _preview_as(request: WorkspaceRequest) -> str:
    values = request.POST if request.method == "POST" else request.GET
    return values.get("preview_as", "").strip().lower()


def _contact(request: WorkspaceRequest, email: str) -> Contact | None:
    if not email:
        return None
    return Contact.objects.filter(workspace=request.workspace, email=email).first()


@require_http_methods(["GET", "POST"])
def test_send(request: WorkspaceRequest, pk: int) -> HttpResponse:
    campaign = campaign_or_404(request, pk)
    form = TestSendForm(request.POST or None, initial={"to": request.user.email})
    if form.is_valid():
        send_test(campaign=campaign, to=form.cleaned_data["to"], by=request.user)
        return to_page("test_send", campaign, request)
    context = {
        "campaign": campaign,
        "form": form,
        "tests": campaign.test_sends.order_by("-id")[:SHOWN_TESTS],
        "sandbox": not has_relay(request.workspace),
    }
    return render(request, "campaigns/test_send.html", context)


@require_GET
def test_send_status(request: WorkspaceRequest, pk: int, test_pk: int) -> HttpResponse:
    campaign = campaign_or_404(request, pk)
    test = get_object_or_404(TestSend, pk=test_pk, campaign=campaign)
    return render(request, "campaigns/_test_send.html", {"campaign": campaign, "test": test})
