"""What could end a line of a header or a command is refused where it is entered."""

from __future__ import annotations

import pytest

from apps.accounts.models import Workspace
from apps.campaigns.services import campaigns as drafts
from apps.mailer.models import Contact, RejectedRow
from core.errors import InvalidInput
from tests.apps.mailer.helpers import imported

CONTROLS = [
    *("\r\n", "\n", "\r", "\0", "\t", "\x0b", "\x1c"),
    *("\x7f", "\x85", "\x9f", "\u2028", "\u2029"),
]
every_control = pytest.mark.parametrize("control", CONTROLS)
every_line = pytest.mark.parametrize(
    "name", ["name", "subject", "from_name", "from_email", "reply_to"]
)


@every_control
@every_line
def test_a_draft_has_none_in_a_line(workspace: Workspace, name: str, control: str) -> None:
    with pytest.raises(InvalidInput):
        drafts.create_campaign(workspace=workspace, by=None, **{name: f"a{control}b@x.test"})
    draft = drafts.create_campaign(workspace=workspace, by=None, name="Draft")
    with pytest.raises(InvalidInput):
        drafts.update_campaign(campaign=draft, **{name: f"a@x.test{control}Bcc: b@x.test"})
    draft.refresh_from_db()
    assert (draft.name, draft.subject, draft.from_email) == ("Draft", "", "")


@every_line
def test_those_at_its_ends_are_cut_off(workspace: Workspace, name: str) -> None:
    draft = drafts.create_campaign(workspace=workspace, by=None, **{name: "\r\na@x.test\u2028\n"})
    assert getattr(draft, name) == "a@x.test"


@every_control
@pytest.mark.parametrize("place", ["ann{}@example.com", "ann@exam{}ple.com"])
def test_no_contact_has_one_in_its_address(workspace: Workspace, place: str, control: str) -> None:
    address = place.format(f"{control}x")
    job = imported(workspace, f'Email,City\n"{address}",Perm\nbob@example.com,Perm\n')
    assert [contact.email for contact in Contact.objects.all()] == ["bob@example.com"]
    assert RejectedRow.objects.filter(of_import=job).count() == 1
