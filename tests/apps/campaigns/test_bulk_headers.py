"""The headers by which mailbox providers know campaign mail."""

from __future__ import annotations

import re
from collections.abc import Callable

import dkim
import pytest
from django.conf import LazySettings

from apps.accounts.models import Membership, Workspace
from apps.campaigns import letters, tokens
from apps.campaigns.models import Campaign
from apps.campaigns.tokens import Kind
from apps.mailer.models import Segment
from apps.senders.models import DkimKey, SendingDomain
from apps.senders.selectors import signing_keys
from apps.senders.services.domains import add_domain
from mailkit.dkim import dns_record
from mailkit.smtp.message import WireMessage
from tests.apps.campaigns.test_letters import letter_of, message_of
from tests.support.factories import make_campaign, make_list, make_workspace

BULK = ("List-Id", "Precedence", "Feedback-ID", "X-Mailru-Msgtype")
INBOUND = "in.shop.test"


@pytest.fixture
def campaign(workspace: Workspace) -> Campaign:
    return make_campaign(workspace, make_list(workspace), from_email="news@Shop.test")


def test_an_unsubscription_goes_by_https_and_by_mail(
    campaign: Campaign, settings: LazySettings
) -> None:
    settings.INBOUND_DOMAIN, settings.BASE_URL = INBOUND, "https://mail.shop.test"
    letter = letter_of(campaign)
    found = re.fullmatch(
        r"<https://mail\.shop\.test/u/([^>]+)>, <mailto:(unsubscribe\+[0-9a-f]+)@in\.shop\.test>",
        letter["List-Unsubscribe"],
    )
    assert found
    assert tokens.read(Kind.UNSUBSCRIBE, found[1]) == (campaign.pk, 5, 0)
    assert tokens.read_local_part(found[2]) == ("unsubscribe", campaign.pk, 5)
    assert len(found[2]) <= 64
    assert letter["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


def test_without_a_receiver_no_mail_address_is_promised(campaign: Campaign) -> None:
    assert "mailto" not in letter_of(campaign)["List-Unsubscribe"]


def test_both_ways_give_the_same_headers(campaign: Campaign, settings: LazySettings) -> None:
    settings.INBOUND_DOMAIN = INBOUND
    spliced = head_of(message_of(campaign))
    campaign.text += "{% if first_name %}{% endif %}"
    campaign.html += "{% if first_name %}{% endif %}"
    assert head_of(message_of(campaign)) == spliced


def head_of(message: WireMessage) -> bytes:
    return message.stuffed.partition(b"\r\n\r\n")[0]


def test_a_list_keeps_its_id(campaign: Campaign) -> None:
    workspace, only = campaign.workspace, campaign.lists.get()
    list_id = f"<list{only.pk}.w{workspace.pk}.shop.test>"
    assert letter_of(campaign)["List-Id"] == list_id
    again = make_campaign(workspace, only, from_email="other@shop.test")
    assert letter_of(again)["List-Id"] == list_id
    of_workspace = f"<w{workspace.pk}.shop.test>"
    again.lists.add(make_list(workspace))
    assert letter_of(again)["List-Id"] == of_workspace
    campaign.segments.add(Segment.objects.create(workspace=workspace, name="All", rules={}))
    assert letter_of(campaign)["List-Id"] == of_workspace
    elsewhere = make_campaign(make_workspace(), from_email="news@shop.test")
    assert letter_of(elsewhere)["List-Id"] != of_workspace


def test_feedback_id_is_as_gmail_wants_it(campaign: Campaign) -> None:
    fields = letter_of(campaign)["Feedback-ID"].split(":")
    assert fields == [f"c{campaign.pk}", "campaign", f"w{campaign.workspace_id}", "vashsender"]
    assert len(set(fields)) == 4
    assert 5 <= len(fields[-1]) <= 15


def test_bulk_mail_says_so(campaign: Campaign) -> None:
    letter = letter_of(campaign)
    assert letter["Precedence"] == "bulk"
    assert re.fullmatch("[A-Za-z0-9]{1,32}", letter["X-Mailru-Msgtype"])
    # RFC 3834: it is for answers and notices of machines, which nobody would want to mute.
    assert letter["Auto-Submitted"] is None


def test_a_test_letter_is_no_bulk_mail(campaign: Campaign, settings: LazySettings) -> None:
    settings.INBOUND_DOMAIN = INBOUND
    message = letters.compiled(campaign).test_letter("a@x.test", letters.sample_values(None), 1)
    for name in (*BULK, "List-Unsubscribe"):
        assert f"\r\n{name}:".encode() not in message.stuffed


def test_the_headers_are_signed(campaign: Campaign, settings: LazySettings) -> None:
    settings.INBOUND_DOMAIN = INBOUND
    owner = Membership.objects.get(workspace=campaign.workspace)
    domain = add_domain(workspace=campaign.workspace, by=owner, name="shop.test")
    DkimKey.objects.filter(domain=domain).update(active=True)
    zone = zone_of(domain)
    for logic in ("", "{% if first_name %}{% endif %}"):
        campaign.text = f"Hi {logic}"
        message = message_of(campaign)
        signed = signed_names(message)
        for name in (*BULK, "List-Unsubscribe", "List-Unsubscribe-Post"):
            assert name.lower() in signed
        assert dkim.DKIM(message.stuffed).verify(dnsfunc=zone)
        altered = message.stuffed.replace(b"Precedence: bulk", b"Precedence: list")
        assert not dkim.DKIM(altered).verify(dnsfunc=zone)


def signed_names(message: WireMessage) -> list[str]:
    field = re.search(rb"(?s)DKIM-Signature:.*?[ ;]h=([^;]+);", message.stuffed)
    assert field
    return re.sub(r"\s", "", field[1].decode()).lower().split(":")


def zone_of(domain: SendingDomain) -> Callable[..., bytes]:
    zone = {
        f"{key.selector}._domainkey.{key.domain}.": dns_record(key.private_key)
        for key in signing_keys(domain.workspace, f"a@{domain.name}")
    }
    return lambda name, timeout=5: zone[name.decode()].encode()


@pytest.mark.parametrize(
    "from_email", ["news@shop.test>\r\nBcc: e@x.test", "news@магазин.рф", "news", "a@b c.test"]
)
def test_no_sender_address_injects_a_header(workspace: Workspace, from_email: str) -> None:
    campaign = make_campaign(workspace, make_list(workspace), from_email="news@shop.test")
    campaign.from_email = from_email
    names = {name.lower() for name, _ in letters._bulk_headers(campaign)}
    assert names <= {name.lower() for name in BULK}
    for _, value in letters._bulk_headers(campaign):
        assert re.fullmatch(r"[!-~]+", value)
