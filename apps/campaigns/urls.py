from collections.abc import Callable

from django.http import HttpResponse
from django.urls import path

from apps.campaigns.views import (
    attachments,
    campaigns,
    deliveries,
    designs,
    editor,
    preflight,
    steering,
    variants,
)

app_name = "campaigns"
# Of the campaign's own letter, and of each variant's.
LETTER_PAGES: list[tuple[str, Callable[..., HttpResponse], str]] = [
    ("builder", designs.builder, "builder"),
    ("mode", designs.mode, "mode"),
    ("start-from", designs.start_from, "start_from"),
    ("save-template", designs.save_template, "save_template"),
    ("preview", editor.preview, "preview"),
    ("preview-text", editor.preview_text, "preview_text"),
    ("test", editor.sent_tests, "test_send"),
]
urlpatterns = [
    path("", campaigns.campaigns, name="list"),
    path("new/", campaigns.create, name="create"),
    path("audience/", campaigns.audience, name="audience"),
    path("<int:pk>/", campaigns.detail, name="detail"),
    path("<int:pk>/progress/", campaigns.progress, name="progress"),
    path("<int:pk>/left-out/", campaigns.left_out, name="left_out"),
    path("<int:pk>/edit/", editor.edit, name="edit"),
    path("from-template/<int:template_pk>/", designs.from_template, name="from_template"),
    *(path(f"<int:pk>/{page}/", view, name=name) for page, view, name in LETTER_PAGES),
    path("<int:pk>/attachments/", attachments.attach, name="attach"),
    path("<int:pk>/attachments/<int:file_pk>/", attachments.download, name="attachment"),
    path("<int:pk>/attachments/<int:file_pk>/remove/", attachments.detach, name="detach"),
    path("<int:pk>/test/<int:test_pk>/", editor.test_send_status, name="test_send_status"),
    path("<int:pk>/variants/", variants.test, name="variants"),
    path("<int:pk>/variants/section/", variants.section, name="variants_section"),
    path("<int:pk>/variants/report/", variants.report, name="variants_report"),
    path("<int:pk>/variants/add/", variants.add, name="variant_add"),
    path("<int:pk>/variants/<int:number>/remove/", variants.remove, name="variant_remove"),
    path("<int:pk>/variants/<int:number>/choose/", variants.choose, name="choose_winner"),
    path("<int:pk>/variants/<int:number>/", editor.edit, name="variant_edit"),
    *(
        path(f"<int:pk>/variants/<int:number>/{page}/", view, name=f"variant_{name}")
        for page, view, name in LETTER_PAGES
    ),
    path("<int:pk>/preflight/", preflight.preflight, name="preflight"),
    path("<int:pk>/outside/", preflight.outside, name="outside"),
    path("<int:pk>/launch/", steering.launch, name="launch"),
    path("<int:pk>/leave-out/", steering.leave_out, name="leave_out"),
    path("<int:pk>/include-all/", steering.include_all, name="include_all"),
    path("<int:pk>/unschedule/", steering.unschedule, name="unschedule"),
    path("<int:pk>/pause/", steering.pause, name="pause"),
    path("<int:pk>/resume/", steering.resume, name="resume"),
    path("<int:pk>/resume/<slug:provider>/", steering.resume_provider, name="resume_provider"),
    path("<int:pk>/cancel/", steering.cancel, name="cancel"),
    path("<int:pk>/duplicate/", campaigns.duplicate, name="duplicate"),
    path("<int:pk>/resend/", campaigns.resend, name="resend"),
    path("<int:pk>/delete/", campaigns.delete, name="delete"),
    path("<int:pk>/deliveries/", deliveries.deliveries, name="deliveries"),
    path("<int:pk>/deliveries/retry-unknown/", steering.retry_unknown, name="retry_unknown"),
    path("<int:pk>/deliveries/<int:contact_pk>/retry/", deliveries.retry, name="retry"),
]
