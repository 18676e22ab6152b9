"""What the pages of content read."""

from __future__ import annotations

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from apps.accounts.models import Workspace
from apps.content.models import Block, Picture, Template
from apps.mailer.models import Contact, ContactField
from core.errors import InvalidInput
from mailkit.personalize import RenderFault, TemplateFault, compile_template


def templates_of(workspace: Workspace, search: str = "") -> QuerySet[Template]:
    """Newest first, without what only the letter itself needs."""
    found = Template.objects.filter(workspace=workspace).order_by("-id").defer("design", "html")
    return found.filter(name__icontains=search) if search else found


def blocks_of(workspace: Workspace, kind: str = "") -> QuerySet[Block]:
    found = Block.objects.filter(workspace=workspace).order_by("name")
    return found.filter(kind=kind) if kind else found


def pictures_of(workspace: Workspace, search: str = "") -> QuerySet[Picture]:
    found = Picture.objects.filter(workspace=workspace).order_by("-id")
    return found.filter(name__icontains=search) if search else found


def merge_fields(workspace: Workspace) -> list[tuple[str, str]]:
    """(label, code) of what can be merged into a letter, with defaults where they read well."""
    first_name = '{{{{ first_name | default: "{}" }}}}'.format(_("friend"))
    own = ContactField.objects.filter(workspace=workspace).order_by("label")
    return [
        (_("First name"), first_name),
        (_("Last name"), "{{ last_name }}"),
        (_("Email"), "{{ email }}"),
        (_("Postal address"), "{{ postal_address }}"),
        *((field.label, f'{{{{ {field.key} | default: "" }}}}') for field in own),
    ]


def preview_html(workspace: Workspace, html: str, contact: Contact | None) -> str:
    """A template's HTML as a contact, or an invented one, would see it. Raises InvalidInput."""
    contact = contact or Contact(
        email="anna@example.com", first_name=_("Anna"), last_name=_("Smith"), fields={}
    )
    template = compile_template(html, html=True)
    if isinstance(template, TemplateFault):
        raise InvalidInput(_line(template.line, template.detail))
    rendered = template.render(
        {
            **contact.fields,
            "email": contact.email,
            "first_name": contact.first_name,
            "last_name": contact.last_name,
            "postal_address": workspace.postal_address or _("Your company, street, town"),
            "unsubscribe_url": "#",
        }
    )
    if isinstance(rendered, RenderFault):
        raise InvalidInput(_line(rendered.line, rendered.detail))
    return rendered


def _line(line: int, detail: str) -> str:
    return _("Line %(line)d: %(detail)s") % {"line": line, "detail": detail}
