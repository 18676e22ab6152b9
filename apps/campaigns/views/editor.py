"""The editor's views: the draft, its preview and its test sends."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse, JsonResponse, QueryDict
from django.shortcuts import get_object_or_404, render
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_GET, require_http_methods

from apps.accounts.http import WorkspaceRequest
from apps.campaigns import variants
from apps.campaigns.forms import CampaignForm, TestSendForm, version
from apps.campaigns.letters import Preview
from apps.campaigns.models import TestSend
from apps.campaigns.preflight import field_warnings
from apps.campaigns.services.testing import preview as render_preview
from apps.campaigns.services.testing import send_test
from apps.campaigns.services.variants import copy_letter
from apps.campaigns.variant_forms import VariantForm
from apps.campaigns.views.attachments import attached
from apps.campaigns.views.campaigns import campaign_or_404, to_page
from apps.campaigns.views.edited import Edited, edited_or_404
from apps.content.models import Editor
from apps.content.services.letters import html_of, stored_design
from apps.content.views.preview import letter_document
from apps.content.views.templates import editor_context
from apps.mailer.models import Contact
from apps.senders.selectors import has_relay
from core.errors import AppError, Conflict, InvalidInput

SHOWN_TESTS = 5

# Where the editor's save buttons lead: pages of what is edited, and those of the whole campaign.
NEXT_PAGES = {"test": "test_send", "builder": "builder", "mode": "mode", "start": "start_from"}
NEXT_OF_CAMPAIGN = ("launch", "variants")


@require_http_methods(["GET", "POST"])
def edit(request: WorkspaceRequest, pk: int, number: int = 0) -> HttpResponse:
    """A draft, or what differs in one of its variants."""
    if number == 1:  # the campaign's own letter has its page
        return to_page("edit", campaign_or_404(request, pk), request)
    edited = edited_or_404(request, pk, number or 1)
    if not edited.campaign.is_draft:
        messages.info(
            request,
            _("This campaign is scheduled: make it a draft again to change it.")
            if edited.campaign.is_scheduled
            else _("This campaign has been launched: its letter cannot change."),
        )
        return to_page("detail", edited.campaign, request)
    if request.method == "GET":
        return _editor(request, edited, _form(edited))
    # The page saves by itself now and then, and shows what the answer says.
    wants_json = request.headers.get("Accept", "").startswith("application/json")
    form = _form(edited, request.POST)
    if not form.is_valid():
        if wants_json:
            return JsonResponse({"errors": form.errors}, status=422)
        return _editor(request, edited, form, status=422)
    if form.cleaned_data["version"] != version(edited.campaign):
        if wants_json:
            raise Conflict(_("This draft was changed elsewhere. Save it to see what to do."))
        return _stale_editor(request, edited)
    try:
        edited.save(**form.content())
    except Conflict:
        if wants_json:
            raise
        # Saved or launched elsewhere since the lines above have read it.
        return _stale_editor(request, edited_or_404(request, pk, number or 1))
    except InvalidInput as error:
        if wants_json:
            raise
        form.add_error(None, error.message)
        return _editor(request, edited_or_404(request, pk, number or 1), form, status=422)
    if wants_json:
        return JsonResponse({"version": version(edited.campaign)})
    return _saved(request, edited_or_404(request, pk, number or 1))


def _saved(request: WorkspaceRequest, edited: Edited) -> HttpResponse:
    """Go on to where the button leads."""
    for sentence in field_warnings(edited.as_read()):
        messages.warning(request, sentence)
    page = request.POST.get("next", "")
    if page in NEXT_PAGES:
        return edited.to_page(NEXT_PAGES[page])
    if page in NEXT_OF_CAMPAIGN:
        return to_page(page, edited.campaign, request)
    if edited.variant is None:
        messages.success(request, _("The draft is saved."))
    elif page == "copy":
        copy_letter(campaign=edited.campaign, number=edited.variant.number)
        messages.success(request, _("The campaign's letter is copied: change what shall differ."))
    else:
        words = _("Variant %(name)s is saved.") % {"name": edited.variant.name}
        messages.success(request, words)
    return edited.to_page("edit")


def _form(edited: Edited, data: QueryDict | None = None) -> CampaignForm | VariantForm:
    """What is saved, or what was posted."""
    if edited.variant is not None:
        if data is None:
            return VariantForm.of(edited.campaign, edited.variant)
        return VariantForm(data, has_letter=bool(edited.variant.editor))
    if data is None:
        return CampaignForm.of(edited.campaign)
    return CampaignForm(data, workspace=edited.campaign.workspace)


def _stale_editor(request: WorkspaceRequest, edited: Edited) -> HttpResponse:
    """What was written, not saved. The page carries the version of now: saving once more is a
    decision, and goes through."""
    if not edited.campaign.is_draft:
        raise Conflict(_("This campaign was launched: its content cannot change any more."))
    if edited.variant and request.POST.get("variant") != str(edited.variant.pk):
        # Its number is another one's since an earlier one was removed.
        raise Conflict(_("This variant does not exist any more."))
    data = request.POST.copy()
    data["version"] = version(edited.campaign)
    return _editor(request, edited, _form(edited, data), status=409, stale=True)


def _editor(
    request: WorkspaceRequest,
    edited: Edited,
    form: CampaignForm | VariantForm,
    *,
    status: int = 200,
    stale: bool = False,
) -> HttpResponse:
    context = {
        "campaign": edited.campaign,
        "variant": edited.variant,
        "edited": edited,
        "tested": variants.of(edited.campaign),
        "form": form,
        "stale": stale,
        **attached(edited.campaign),
        **editor_context(request, edited.letter.editor),
        "edit_url": edited.url("edit"),
        "preview_url": edited.url("preview"),
        "preview_text_url": edited.url("preview_text"),
        "template_url": edited.url("start_from"),
        "save_template_url": edited.url("save_template"),
    }
    template = "campaigns/variant.html" if edited.variant else "campaigns/edit.html"
    return render(request, template, context, status=status)


@require_http_methods(["GET", "POST"])
@xframe_options_sameorigin
def preview(request: WorkspaceRequest, pk: int, number: int = 1) -> HttpResponse:
    """The letter as a document for the editor's frame: what is posted, else what is saved."""
    try:
        letter = _preview(request, edited_or_404(request, pk, number))
        html = letter.html or format_html("<pre>{}</pre>", letter.text)
    except AppError as error:
        html = format_html("<p>{}</p>", error.message)
    return letter_document(html, dark="dark" in request.POST)


@require_http_methods(["GET", "POST"])
def preview_text(request: WorkspaceRequest, pk: int, number: int = 1) -> HttpResponse:
    """The subject and the plain text of the same letter, as a fragment."""
    edited = edited_or_404(request, pk, number)
    context: dict[str, Any] = {"campaign": edited.campaign, "unknown_contact": ""}
    try:
        context["preview"] = _preview(request, edited)
    except AppError as error:
        context["error"] = error
    chosen = _preview_as(request)
    if chosen and not _contact(request, chosen):
        context["unknown_contact"] = chosen
    return render(request, "campaigns/_preview_text.html", context)


def _preview(request: WorkspaceRequest, edited: Edited) -> Preview:
    """With the form's content, unsaved and unchecked: drafts are often half-done."""
    letter = edited.letter
    for name in ("subject", *(("design", "html", "text") if letter.editor else ())):
        if name in request.POST:
            setattr(letter, name, request.POST[name])
    if "design" in request.POST and letter.editor not in ("", Editor.HTML):
        design = stored_design(editor=letter.editor, design=letter.design)
        letter.html = html_of(editor=letter.editor, design=design)
    campaign = edited.as_read()
    # The preview shows no sender, and must not wait for one.
    campaign.from_name, campaign.from_email, campaign.reply_to = "", "sender@example.com", ""
    return render_preview(campaign=campaign, contact=_contact(request, _preview_as(request)))


def _preview_as(request: WorkspaceRequest) -> str:
    values = request.POST if request.method == "POST" else request.GET
    return values.get("preview_as", "").strip().lower()


def _contact(request: WorkspaceRequest, email: str) -> Contact | None:
    if not email:
        return None
    return Contact.objects.filter(workspace=request.workspace, email=email).first()


@require_http_methods(["GET", "POST"])
def sent_tests(request: WorkspaceRequest, pk: int, number: int = 1) -> HttpResponse:
    edited = edited_or_404(request, pk, number)
    campaign, variant = edited.campaign, edited.variant
    form = TestSendForm(request.POST or None, initial={"to": request.user.email})
    if form.is_valid():
        send_test(
            campaign=campaign,
            to=form.cleaned_data["to"],
            by=request.user,
            variant=variant.number if variant else 0,
        )
        return edited.to_page("test_send")
    context = {
        "campaign": campaign,
        "edited": edited,
        "edit_url": edited.url("edit"),
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
