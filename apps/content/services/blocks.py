"""Saved blocks: pieces of letters."""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import Workspace
from apps.content.messages import mjml_fault
from apps.content.models import Block
from core.errors import Conflict, InvalidInput
from mailkit.liquid import unescape_tags
from mailkit.mime import unix_line_ends
from mailkit.mjml import MjmlFault, compile_mjml
from mailkit.rfc2047 import CONTROL

LARGEST_BLOCK = 100_000
MOST_BLOCKS = 200


def create_block(*, workspace: Workspace, name: str, kind: str, source: str) -> Block:
    """Raises InvalidInput, Conflict for a name in use."""
    if Block.objects.filter(workspace=workspace).count() >= MOST_BLOCKS:
        raise InvalidInput(
            _("A workspace has at most %(most)d saved blocks: delete one that is not used.")
            % {"most": MOST_BLOCKS}
        )
    block = Block(workspace=workspace)
    _fill(block, name, kind, source)
    try:
        with transaction.atomic():
            block.save()
    except IntegrityError as error:
        raise Conflict(_taken(block.name)) from error
    return block


def update_block(*, block: Block, name: str, kind: str, source: str) -> Block:
    """Raises InvalidInput, Conflict for a name in use or a block that is gone."""
    _fill(block, name, kind, source)
    try:
        with transaction.atomic():
            changed = Block.objects.filter(pk=block.pk).update(
                name=block.name, kind=block.kind, source=block.source, updated_at=timezone.now()
            )
    except IntegrityError as error:
        raise Conflict(_taken(block.name)) from error
    if not changed:
        raise Conflict(_("This block was deleted meanwhile."))
    return block


def delete_block(*, block: Block) -> None:
    """Letters keep their own copies of it."""
    Block.objects.filter(pk=block.pk, workspace=block.workspace).delete()


def _fill(block: Block, name: str, kind: str, source: str) -> None:
    name = name.strip()
    if not name or len(name) > 100 or CONTROL.search(name):
        raise InvalidInput(_("Give it a name: one line of up to 100 characters."))
    if kind not in Block.Kind.values:
        raise InvalidInput(_("Choose for which letters the block is."))
    source = unix_line_ends(source.replace("\0", "")).strip()
    if not source or len(source) > LARGEST_BLOCK:
        raise InvalidInput(_("Write what the block holds: up to 100,000 characters."))
    if kind == Block.Kind.MJML:
        source = unescape_tags(source)
        compiled = compile_mjml(in_letter(source))
        if isinstance(compiled, MjmlFault):
            raise InvalidInput(mjml_fault(compiled))
    block.name, block.kind, block.source = name, kind, source


def in_letter(source: str) -> str:
    """A piece of MJML as a whole letter, on the same lines."""
    if not source.startswith(("<mj-section", "<mj-wrapper", "<mj-hero", "<mj-raw")):
        is_column = source.startswith(("<mj-column", "<mj-group"))
        source = source if is_column else f"<mj-column>{source}</mj-column>"
        source = f"<mj-section>{source}</mj-section>"
    return f"<mjml><mj-body>{source}</mj-body></mjml>"


def _taken(name: str) -> str:
    return _("There is a block named “%(name)s” already: choose another name.") % {"name": name}
