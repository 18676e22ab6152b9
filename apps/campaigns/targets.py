"""Whom a campaign is for and whom it leaves out, as queries for the ids of contacts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from django.utils.translation import gettext as _

from apps.accounts.models import Workspace
from apps.campaigns.models import Campaign
from apps.mailer.models import Segment
from apps.mailer.segments.counting import rules_of
from apps.mailer.segments.rules import Query, compiled
from apps.mailer.segments.subjects import Scope
from core.errors import InvalidInput


class Ids(NamedTuple):
    """A query for `contact_id`, perhaps with repetitions, and its parameters."""

    sql: str
    params: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Targets:
    """Lists and segments: a contact is taken who is in one of the first two and in none of the
    excluded ones."""

    list_ids: tuple[int, ...] = ()
    segments: tuple[Segment, ...] = ()
    excluded_list_ids: tuple[int, ...] = ()
    excluded_segments: tuple[Segment, ...] = ()

    @classmethod
    def of(cls, campaign: Campaign) -> Targets:
        return cls(
            tuple(campaign.lists.values_list("pk", flat=True)),
            tuple(campaign.segments.select_related("workspace").order_by("pk")),
            tuple(campaign.excluded_lists.values_list("pk", flat=True)),
            tuple(campaign.excluded_segments.select_related("workspace").order_by("pk")),
        )

    def __bool__(self) -> bool:
        return bool(self.list_ids or self.segments)

    @property
    def excluding(self) -> bool:
        return bool(self.excluded_list_ids or self.excluded_segments)

    @property
    def simple(self) -> bool:
        """Lists alone."""
        return not (self.segments or self.excluding)

    def taken(self, workspace: Workspace) -> Ids:
        """Raises InvalidInput where a segment's rules are outdated."""
        return _ids(workspace, "taken", self.list_ids, self.segments)

    def left_out(self, workspace: Workspace) -> Ids:
        """Raises InvalidInput where a segment's rules are outdated."""
        return _ids(workspace, "left_out", self.excluded_list_ids, self.excluded_segments)


def _ids(
    workspace: Workspace, name: str, list_ids: tuple[int, ...], segments: tuple[Segment, ...]
) -> Ids:
    of_lists = f"""
        SELECT member.contact_id FROM mailer_listmember member
        JOIN mailer_contactlist list ON list.id = member.list_id
        WHERE list.workspace_id = %({name}_workspace)s AND list.id = ANY(%({name}_lists)s)
    """
    params = {f"{name}_workspace": workspace.pk, f"{name}_lists": list(list_ids)}
    found = segment_queries(workspace, name, segments)
    parts = [of_lists] if list_ids or not found else []
    for query in found:
        parts.append(query.ids)
        params |= query.params
    return Ids(" UNION ALL ".join(parts), params)


def segment_queries(workspace: Workspace, name: str, segments: tuple[Segment, ...]) -> list[Query]:
    """Raises InvalidInput that names the segment whose rules are outdated."""
    scope = Scope(workspace)
    found = []
    for number, segment in enumerate(segments):
        if segment.workspace_id != workspace.pk:
            continue
        try:
            rules = rules_of(segment, scope)
        except InvalidInput as error:
            raise InvalidInput(
                _("Segment “%(name)s”: %(fault)s") % {"name": segment, "fault": error.message}
            ) from error
        found.append(compiled(rules, scope, f"{name}{number}_"))
    return found
