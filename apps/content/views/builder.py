"""The drag-and-drop builder's page, for campaigns and for templates."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol, TypeVar, cast

from csp.constants import SELF, UNSAFE_INLINE
from csp.decorators import csp_replace
from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.templatetags.static import static
from django.urls import reverse
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from apps.accounts.http import WorkspaceRequest
from apps.content.models import Block, Editor
from apps.content.selectors import blocks_of, merge_fields
from apps.content.services.letters import new_design
from core.errors import Conflict
from mailkit.mjml import for_builder

View = TypeVar("View", bound=Callable[..., HttpResponse])


def builder_policy(view: View) -> View:
    """The builder writes style attributes into its panels and into the letter on its canvas, a
    frame that inherits this page's policy: an attribute can carry no nonce, and a nonce beside
    'unsafe-inline' would switch that off. A letter shows pictures from anywhere, as in a mail
    program. Scripts stay as strict as everywhere: GrapesJS needs no eval.
    """
    policy = {"style-src": [SELF, UNSAFE_INLINE], "img-src": [SELF, "data:", "https:", "http:"]}
    return cast(View, csp_replace(policy)(cast(Any, view)))


class Letter(Protocol):
    """A campaign's letter, a variant's, or a template."""

    @property
    def name(self) -> str: ...
    @property
    def design(self) -> str: ...
    @property
    def updated_at(self) -> datetime: ...


def builder_page(
    request: WorkspaceRequest,
    letter: Letter,
    *,
    save: Callable[[str], Letter],
    back: str,
    preview: str,
) -> HttpResponse:
    """GET shows the builder; POST saves `design` if nobody else has saved since `version`."""
    if request.method == "POST":
        if request.POST.get("version") != letter.updated_at.isoformat():
            raise Conflict(
                _("Changed in another window: open it there, or reload this page to see it.")
            )
        saved = save(request.POST.get("design", ""))
        return JsonResponse({"version": saved.updated_at.isoformat()})
    slug = request.workspace.slug
    blocks = blocks_of(request.workspace, Block.Kind.MJML)
    data = {
        "design": for_builder(letter.design or new_design(Editor.BUILDER)),
        "version": letter.updated_at.isoformat(),
        "placeholder": request.build_absolute_uri(static("img/picture.png")),
        "blocks": [{"name": one.name, "source": for_builder(one.source)} for one in blocks],
        "fields": merge_fields(request.workspace),
        "unsubscribe": '<a href="{{{{ unsubscribe_url }}}}">{}</a>'.format(_("Unsubscribe")),
        "picker": reverse("content:picker", args=[slug]),
        "saveBlock": reverse("content:block_save", args=[slug]),
        "words": _words(),
        "mjml": _mjml_words(),
        "messages": static("vendor/grapes-ru.js") if get_language() == "ru" else "",
    }
    context = {"letter": letter, "data": data, "back": back, "preview": preview}
    return render(request, "content/builder.html", context)


def _words() -> dict[str, str]:
    """What the builder's script says."""
    return {
        "saved": _("Saved"),
        "saving": _("Saving…"),
        "unsaved": _("Not saved yet"),
        "offline": _("Not saved: the server cannot be reached. It is tried again."),
        "field": _("Insert field"),
        "blocks": _("Blocks"),
        "style": _("Look"),
        "settings": _("Settings"),
        "layers": _("Outline"),
        "savedBlocks": _("Saved blocks"),
        "content": _("Content"),
        "saveBlock": _("Save as block"),
        "blockName": _("Name of the block"),
        "blockSaved": _("The block is saved."),
        "section1": _("Section"),
        "section2": _("Two columns"),
        "section3": _("Three columns"),
        "text": _("Text"),
        "heading": _("Heading"),
        "button": _("Button"),
        "image": _("Picture"),
        "divider": _("Divider"),
        "spacer": _("Space"),
        "footer": _("Footer"),
        "newText": _("Write here."),
        "newHeading": _("Heading"),
        "newButton": _("Read more"),
        "footerText": _("You get this letter because you subscribed to our news."),
    }


def _mjml_words() -> dict[str, object]:
    """The texts of grapesjs-mjml, as its own locale files have them."""
    return {
        "category": "",
        "panels": {
            "buttons": {
                "undo": _("Undo"),
                "redo": _("Redo"),
                "desktop": _("Desktop"),
                "tablet": _("Tablet"),
                "mobile": _("Phone"),
                "import": "MJML",
            },
            "import": {"title": "MJML", "button": "MJML", "label": ""},
            "export": {"title": "MJML"},
        },
        "components": {
            "names": {
                "body": _("Letter"),
                "button": _("Button"),
                "column": _("Column"),
                "oneColumn": _("Section"),
                "twoColumn": _("Two columns"),
                "threeColumn": _("Three columns"),
                "divider": _("Divider"),
                "group": _("Group"),
                "hero": _("Cover"),
                "image": _("Picture"),
                "navBar": _("Menu"),
                "navLink": _("Menu link"),
                "section": _("Section"),
                "socialGroup": _("Social links"),
                "socialElement": _("Social link"),
                "spacer": _("Space"),
                "text": _("Text"),
                "wrapper": _("Frame"),
                "raw": _("Code"),
            }
        },
    }
