"""Segments: checked, saved, counted, deleted."""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import Workspace
from apps.mailer.models import Segment
from apps.mailer.segments import counting
from apps.mailer.segments.rules import parse, to_json
from apps.mailer.segments.subjects import Scope
from core.errors import Conflict, InvalidInput

LONGEST_NAME = 100


def create_segment(*, workspace: Workspace, name: str, rules: object) -> Segment:
    """`rules` as JSON has them. Raises InvalidInput for them, and for an empty or taken name."""
    return _write(Segment(workspace=workspace), name, rules)


def update_segment(*, segment: Segment, name: str, rules: object) -> Segment:
    """Raises InvalidInput, Conflict where it was deleted or changed elsewhere."""
    return _write(segment, name, rules)


def _write(segment: Segment, name: str, rules: object) -> Segment:
    name = " ".join(name.split())
    if not name or len(name) > LONGEST_NAME or "\0" in name:
        raise InvalidInput(_("Give the segment a name of at most 100 characters."))
    values = {
        "name": name,
        "rules": to_json(parse(rules, Scope(segment.workspace))),
        "count": None,
        "counted_at": None,
        "updated_at": timezone.now(),
    }
    before = segment.updated_at
    for field, value in values.items():
        setattr(segment, field, value)
    try:
        with transaction.atomic():
            if segment.pk is None:
                segment.save()
            elif not Segment.objects.filter(pk=segment.pk, updated_at=before).update(**values):
                raise Conflict(
                    _("This segment was changed or deleted elsewhere: look at it again.")
                )
    except IntegrityError as error:
        raise InvalidInput(
            _("There is already a segment named “%(name)s”.") % {"name": name}
        ) from error
    return segment


def duplicate_segment(*, segment: Segment) -> Segment:
    """A copy under the first free name."""
    for number in range(1, 100):
        ending = _("copy") if number == 1 else _("copy %(number)d") % {"number": number}
        name = f"{segment.name[: LONGEST_NAME - len(ending) - 3]} ({ending})"
        if not Segment.objects.filter(workspace=segment.workspace, name=name).exists():
            return create_segment(workspace=segment.workspace, name=name, rules=segment.rules)
    raise Conflict(_("There are too many copies of this segment: rename some."))


def count_segment(*, segment: Segment) -> counting.Count:
    """Count it now and remember an exact answer. Raises InvalidInput for outdated rules."""
    scope = Scope(segment.workspace)
    found = counting.count(counting.rules_of(segment, scope), scope)
    if found.exact:
        remembered = {"count": found.number, "counted_at": scope.now}
        Segment.objects.filter(pk=segment.pk, updated_at=segment.updated_at).update(**remembered)
        segment.count, segment.counted_at = found.number, scope.now
    return found


def delete_segment(*, segment: Segment) -> None:
    """Raises Conflict while a campaign that has not begun is meant for it or leaves it out."""
    try:
        with transaction.atomic():
            # Whoever chooses it for a campaign meanwhile waits, and finds it gone.
            Segment.objects.select_for_update().filter(pk=segment.pk).first()
            segment.delete()
    except IntegrityError as error:
        raise Conflict(_("A campaign uses this segment.")) from error
