"""How a letter is made, and what is kept of it in another way."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import render
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from apps.accounts.http import WorkspaceRequest
from apps.content.models import Editor
from apps.content.views.builder import Letter
from mailkit.mjml import not_for_builder

ABOUT = {
    Editor.BUILDER: _("Blocks that you drag to their places. Looks right on every screen."),
    Editor.MJML: _("The builder's language as text, for those who like to write code."),
    Editor.HTML: _("You write all of the HTML, or paste it from elsewhere."),
    Editor.RICH: _("A letter as in a mail program: text, lists, links and pictures."),
}
_ALL = _("All of the letter is kept, and you can come back.")
_LAYOUT = _(
    "Texts, links, lists and pictures are kept. The layout, colours and the order of columns "
    "are lost, and there is no way back."
)
_HTML = _("The letter is kept as it looks, as HTML. There is no way back to its blocks.")
_FRAME = _("The letter is kept as it looks, as HTML. Going back keeps texts, links and pictures.")
_TEXT = _("Texts, links, lists and pictures go into one block of a new letter.")


def kept(editor: str, to: str) -> Promise:
    """What going from one way to another keeps, in words."""
    blocks = {Editor.BUILDER, Editor.MJML}
    if {editor, to} <= blocks:
        return _ALL
    if to == Editor.HTML:
        return _FRAME if editor == Editor.RICH else _HTML
    return _LAYOUT if to == Editor.RICH or editor == Editor.HTML else _TEXT


def modes_page(
    request: WorkspaceRequest, letter: Letter, *, editor: str, back: str, empty: bool
) -> HttpResponse:
    """The four ways; the page posts `editor` to itself."""
    damaged = not_for_builder(letter.design) if editor == Editor.MJML else ""
    modes = [
        {
            "editor": one,
            "label": one.label,
            "about": ABOUT[one],
            "kept": "" if empty or one == editor else kept(editor, one),
            "current": one == editor,
            "damaged": damaged if one == Editor.BUILDER else "",
        }
        for one in Editor
    ]
    context = {"letter": letter, "modes": modes, "back": back}
    return render(request, "content/modes.html", context)
