"""A letter's HTML from its design, and from one way of making it to another."""

from __future__ import annotations

import html as html_escapes

from django.utils.translation import gettext as _

from apps.content.messages import mjml_fault
from apps.content.models import Editor
from core.errors import InvalidInput
from mailkit.liquid import unescape_tags
from mailkit.mime import unix_line_ends
from mailkit.mjml import MjmlFault, compile_mjml
from mailkit.richtext import clean_rich_text, has_content, rich_letter, rich_text_of

LARGEST_PART = 1_000_000
# A letter without content, for those who begin with an empty page. Fonts of the reader's own:
# the default of MJML would be fetched from a stranger's server.
EMPTY_MJML = """<mjml>
  <mj-head>
    <mj-raw>
      <meta name="color-scheme" content="light dark">
      <meta name="supported-color-schemes" content="light dark">
    </mj-raw>
    <mj-attributes>
      <mj-all font-family="Arial, Helvetica, sans-serif" />
      <mj-text font-size="16px" line-height="1.5" color="#1f2933" />
    </mj-attributes>
  </mj-head>
  <mj-body>
    <mj-section>
      <mj-column>
        <mj-text>%s</mj-text>
      </mj-column>
    </mj-section>
  </mj-body>
</mjml>
"""


def html_of(*, editor: str, design: str) -> str:
    """The HTML made from a design. Raises InvalidInput, with the line for MJML."""
    if editor == Editor.RICH:
        html = rich_letter(design)
    elif not design.strip():
        html = ""
    else:
        compiled = compile_mjml(design)
        if isinstance(compiled, MjmlFault):
            raise InvalidInput(mjml_fault(compiled))
        html = compiled
    if len(html) > LARGEST_PART:
        raise InvalidInput(_("The letter is too large: at most 1 MB of HTML or text."))
    return html


def stored_design(*, editor: str, design: str) -> str:
    """A design as it is kept. What a browser has serialised gets its Liquid tags back."""
    design = unix_line_ends(design.replace("\0", ""))
    if len(design) > LARGEST_PART:
        raise InvalidInput(_("The letter is too large: at most 1 MB of HTML or text."))
    if editor == Editor.RICH:
        return clean_rich_text(design)
    return unescape_tags(design) if editor == Editor.BUILDER else design


def converted(*, editor: str, to: str, design: str, html: str) -> tuple[str, str]:
    """(design, html) of a letter made in `editor`, for going on in `to`."""
    if editor == to or {editor, to} == {Editor.BUILDER, Editor.MJML}:
        return design, html
    if to == Editor.HTML:
        return "", html
    text = design if editor == Editor.RICH else rich_text_of(html)
    if to == Editor.RICH:
        return text, rich_letter(text)
    design = EMPTY_MJML % text if has_content(text) else new_design(to)
    return design, html_of(editor=to, design=design)


def new_design(editor: str) -> str:
    """What an empty letter begins with."""
    if editor in (Editor.BUILDER, Editor.MJML):
        return EMPTY_MJML % html_escapes.escape(_("Write your letter here."))
    return ""
