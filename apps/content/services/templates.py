"""Templates of letters."""

from __future__ import annotations

from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User, Workspace
from apps.content.models import Editor, Template
from apps.content.services.letters import LARGEST_PART, converted, html_of, stored_design
from core.errors import Conflict, InvalidInput
from mailkit.rfc2047 import CONTROL


def create_template(
    *,
    workspace: Workspace,
    by: User | None,
    name: str,
    editor: str = Editor.BUILDER,
    design: str = "",
    html: str = "",
) -> Template:
    """Raises InvalidInput."""
    template = Template(workspace=workspace, created_by=by, name=_name(name), editor=editor)
    _fill(template, design, html)
    template.save()
    return template


def update_template(
    *,
    template: Template,
    name: str | None = None,
    design: str | None = None,
    html: str | None = None,
) -> Template:
    """Change what is given; `html` counts where it is written by hand, `design` elsewhere.

    Raises Conflict if it was changed since `template` was read, InvalidInput.
    """
    if name is not None:
        template.name = _name(name)
    source = html if template.editor == Editor.HTML else design
    if source is not None:
        _fill(template, source, source)
    return _write(template)


def change_editor(*, template: Template, to: str) -> Template:
    """Go on in another way. Raises Conflict, InvalidInput."""
    if to not in Editor.values:
        raise InvalidInput(_("Choose how to make the letter."))
    template.design, template.html = converted(
        editor=template.editor, to=to, design=template.design, html=template.html
    )
    template.editor = to
    return _write(template)


def copy_template(*, template: Template, by: User | None) -> Template:
    return create_template(
        workspace=template.workspace,
        by=by,
        name=_("%(name)s (copy)") % {"name": template.name[:130]},
        editor=template.editor,
        design=template.design,
        html=template.html,
    )


def delete_template(*, template: Template) -> None:
    Template.objects.filter(pk=template.pk, workspace=template.workspace).delete()


def _write(template: Template) -> Template:
    now = timezone.now()
    changed = Template.objects.filter(pk=template.pk, updated_at=template.updated_at).update(
        name=template.name,
        editor=template.editor,
        design=template.design,
        html=template.html,
        updated_at=now,
    )
    if not changed:
        raise Conflict(_("This template was changed or deleted in another window: reload it."))
    template.updated_at = now
    return template


def _fill(template: Template, design: str, html: str) -> None:
    if template.editor == Editor.HTML:
        if len(html) > LARGEST_PART:
            raise InvalidInput(_("The letter is too large: at most 1 MB of HTML or text."))
        template.design, template.html = "", html.replace("\0", "")
        return
    template.design = stored_design(editor=template.editor, design=design)
    template.html = html_of(editor=template.editor, design=template.design)


def _name(name: str) -> str:
    name = name.strip()
    if not name or len(name) > 150 or CONTROL.search(name):
        raise InvalidInput(_("Give it a name: one line of up to 150 characters."))
    return name
