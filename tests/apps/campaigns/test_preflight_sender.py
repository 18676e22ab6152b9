"""What preflight says of the sender and of expected bounces."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.conf import LazySettings

from apps.accounts.models import Membership, User, Workspace
from apps.campaigns import preflight
from apps.campaigns.models import Campaign
from apps.campaigns.services import outside
from apps.campaigns.services.launch import launch_campaign
from apps.senders.models import Relay, SendingPolicy
from apps.senders.services import authentication, domains
from core.errors import InvalidInput
from mailkit import authentication as proofs
from mailkit.verify.dns import make_resolver
from tests.apps.campaigns.pages import ClientOf, url
from tests.apps.senders.helpers import Records, keys_of, publish
from tests.mailkit.verify.dns_server import dns_server
from tests.support.factories import make_campaign, make_contact, make_list
from tests.support.sandbox import LoopThread, Sandbox

pytestmark = pytest.mark.django_db


@pytest.fixture
def campaign(workspace: Workspace) -> Campaign:
    workspace.postal_address = "1 Main St"
    workspace.save()
    target = make_list(workspace)
    for _number in range(3):
        make_contact(workspace, to=target, first_name="Anna")
    return make_campaign(
        workspace, target, from_email="news@example.com", html="<p>Hi {{ postal_address }}</p>"
    )


@pytest.fixture
def records(
    workspace: Workspace, loop_thread: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Records]:
    """What the DNS holds that a workspace with a relay asks."""
    Relay.objects.create(workspace=workspace, host="9.9.9.9")
    found: Records = {}
    serving = dns_server(found)
    server = loop_thread.run(serving.__aenter__())
    monkeypatch.setattr(
        authentication,
        "make_resolver",
        lambda _servers, **limits: make_resolver([server.address], **limits),
    )
    yield found
    loop_thread.run(serving.__aexit__(None, None, None))


def levels(campaign: Campaign) -> dict[str, str]:
    outside.look(campaign.pk)
    return {one.code: one.level for one in preflight.outside_notices(campaign) or []}


def test_a_sender_of_whom_nothing_is_published(
    campaign: Campaign, records: Records, owner: User, client_of: ClientOf
) -> None:
    assert levels(campaign) == {
        "no_spf": "blocking",
        "unsigned": "blocking",
        "no_dmarc": "advisory",
    }
    page = client_of(owner).get(url(campaign, "outside/")).content.decode()
    assert 'value="v=spf1 ip4:9.9.9.9 ~all"' in page
    assert 'value="_dmarc.example.com"' in page
    assert "/w/shop/senders/domains/" in page
    with pytest.raises(InvalidInput, match="no SPF record"):
        launch_campaign(campaign=campaign, by=owner, acknowledged=["unsigned"])
    launch_campaign(campaign=campaign, by=owner, acknowledged=["unsigned", "no_spf"])


def test_a_sender_who_passes(campaign: Campaign, records: Records, owner: User) -> None:
    by = Membership.objects.get(user=owner)
    domain = domains.add_domain(workspace=campaign.workspace, by=by, name="example.com")
    domain.keys.update(active=True)
    publish(records, *keys_of(domain))
    records["example.com", "TXT"] = ['"v=spf1 ip4:9.9.9.9 -all"']
    records["_dmarc.example.com", "TXT"] = ['"v=DMARC1; p=reject"']
    assert levels(campaign) == {}


def test_bulk_senders_are_asked_for_more(
    campaign: Campaign, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    records["example.com", "TXT"] = ['"v=spf1 ip4:9.9.9.9 -all"']
    assert levels(campaign) == {"unsigned": "advisory", "no_dmarc": "advisory"}
    monkeypatch.setattr(proofs, "BULK_FROM", 2)
    target = campaign.lists.get()
    for number in range(2):
        make_contact(campaign.workspace, f"anna{number}@gmail.com", to=target)
    assert levels(campaign) == {"unsigned": "blocking", "no_dmarc": "blocking"}


def test_other_recipients_are_another_question(campaign: Campaign, records: Records) -> None:
    assert levels(campaign)
    campaign.lists.set([make_list(campaign.workspace)])
    assert outside.known(campaign) == []


def test_free_providers_are_not_asked(campaign: Campaign, records: Records) -> None:
    Campaign.objects.filter(pk=campaign.pk).update(from_email="shop@gmail.com")
    campaign.refresh_from_db()
    assert levels(campaign) == {}


def test_without_a_relay_only_the_sandbox_is_asked_and_nothing_blocks(
    campaign: Campaign, sandbox: Sandbox
) -> None:
    assert levels(campaign) == {}
    assert not sandbox.dns.queries["example.com"]
    Campaign.objects.filter(pk=campaign.pk).update(from_email="news@inbox.sandbox.test")
    campaign.refresh_from_db()
    assert levels(campaign) == {"unsigned": "advisory"}


def test_a_dead_dns_stops_nothing(campaign: Campaign, settings: LazySettings) -> None:
    settings.SANDBOX_DNS_PORT = 9
    Campaign.objects.filter(pk=campaign.pk).update(from_email="news@inbox.sandbox.test")
    campaign.refresh_from_db()
    assert set(levels(campaign).values()) == {"advisory"}


# Expected bounces


def bounces(campaign: Campaign) -> preflight.Notice | None:
    return next((one for one in preflight.notices(campaign) if one.code == preflight.BOUNCES), None)


def test_expected_bounces_are_said_as_the_launch_decides(
    campaign: Campaign, owner: User, teammate: User, client_of: ClientOf
) -> None:
    assert bounces(campaign) is None  # of mailboxes that exist there is nothing to say
    target = campaign.lists.get()
    for number in range(3):
        make_contact(
            campaign.workspace,
            f"full{number}@inbox.sandbox.test",
            to=target,
            verdict="risky",
            reason="mailbox_full",
            first_name="Anna",
        )
    SendingPolicy.objects.create(workspace=campaign.workspace, forecast_percent=50)
    campaign.include_verdicts = ["valid", "risky"]
    campaign.save()
    below = bounces(campaign)
    assert below is not None
    assert below.level == "advisory"
    assert "4.2 % ≤ 50 %" in str(below.sentence)
    SendingPolicy.objects.update(forecast_percent=3)
    above = bounces(campaign)
    assert above is not None
    assert above.blocking
    assert not above.acknowledgeable
    assert above.url.endswith("/launch/#bounces")
    for person in (owner, teammate):
        page = client_of(person).get(url(campaign, "preflight/")).content.decode()
        assert "have an owner accept it below" in page
        assert "acknowledge-bounce_forecast" not in page
    # Reading it is no acceptance: that is an owner's, by the percentage.
    with pytest.raises(InvalidInput, match="expected to bounce"):
        launch_campaign(campaign=campaign, by=owner, acknowledged=[preflight.BOUNCES])
    launch_campaign(campaign=campaign, by=owner, accept_bounces=5, acknowledged=[])
