"""Sending domains: their keys sign once, and only while, they are theirs in the DNS."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from datetime import timedelta
from typing import Any

import dkim as oracle
import pytest
from django.db import transaction
from django.utils import timezone

from apps.accounts.models import Membership, User, Workspace
from apps.senders import selectors
from apps.senders.models import DkimKey, Relay, SendingDomain
from apps.senders.services import authentication, domains
from core import secrets
from core.errors import Conflict, InvalidInput, NotAllowed
from mailkit.dkim import dns_record
from mailkit.verify.dns import make_resolver
from tests.apps.senders.helpers import Records, keys_of, name_of, publish
from tests.support.concurrency import in_thread, wait_until_blocked
from tests.support.dkim import sign_message
from tests.support.factories import make_user, make_workspace
from tests.support.worker import running_worker

pytestmark = pytest.mark.django_db


@pytest.fixture
def by(workspace: Workspace, owner: User) -> Membership:
    return Membership.objects.get(workspace=workspace, user=owner)


@pytest.fixture
def domain(workspace: Workspace, by: Membership) -> SendingDomain:
    return domains.add_domain(workspace=workspace, by=by, name="example.com")


def check(domain: SendingDomain, by: Membership) -> dict[str, str]:
    domains.ask_check(domain=domain, by=by)
    domains.check_domain(domain.pk)
    domain.refresh_from_db()
    return dict(domain.dns)


def signing(workspace: Workspace, email: str = "news@example.com") -> list[str]:
    return [key.selector for key in selectors.signing_keys(workspace, email)]


# Adding and removing


def test_a_new_domain_has_a_key_of_each_algorithm_that_does_not_sign_yet(
    workspace: Workspace, domain: SendingDomain
) -> None:
    rsa, ed25519 = keys_of(domain)
    assert (rsa.algorithm, ed25519.algorithm) == ("rsa-sha256", "ed25519-sha256")
    assert rsa.selector != ed25519.selector
    for key in (rsa, ed25519):
        private = secrets.decrypt(key.private_key_encrypted)
        assert key.record == dns_record(private)
        assert b"PRIVATE" not in bytes(key.private_key_encrypted)
        assert not key.active
    assert signing(workspace) == []
    assert [one.name for one in selectors.domains(workspace)] == ["example.com"]


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        (" Example.COM. ", "example.com"),
        ("news.example.com", "news.example.com"),
        ("пример.рф", "xn--e1afmkfd.xn--p1ai"),
    ],
)
def test_names_are_kept_as_addresses_have_them(
    workspace: Workspace, by: Membership, typed: str, name: str
) -> None:
    assert domains.add_domain(workspace=workspace, by=by, name=typed).name == name


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "localhost", "192.0.2.1", "https://example.com/", "a@example.com", "a b.com"),
        *("example.com\r\nX: y", "a..com", "-a.com", "a;b.com", ".".join(["a" * 56] * 4) + ".com"),
    ],
    ids=ascii,
)
def test_what_is_no_domain_is_refused(workspace: Workspace, by: Membership, name: str) -> None:
    with pytest.raises(InvalidInput):
        domains.add_domain(workspace=workspace, by=by, name=name)
    assert not SendingDomain.objects.exists()


def test_a_workspace_has_a_domain_once_and_others_may_have_it_too(
    workspace: Workspace, by: Membership, domain: SendingDomain
) -> None:
    with pytest.raises(InvalidInput):
        domains.add_domain(workspace=workspace, by=by, name="EXAMPLE.com")
    stranger = make_user()
    other = make_workspace(stranger)
    theirs = domains.add_domain(
        workspace=other, by=Membership.objects.get(workspace=other), name="example.com"
    )
    assert DkimKey.objects.values("selector").distinct().count() == 4
    assert [one.pk for one in selectors.domains(other)] == [theirs.pk]


def test_a_removed_domain_leaves_no_key(
    workspace: Workspace, by: Membership, domain: SendingDomain
) -> None:
    DkimKey.objects.update(active=True)
    domains.remove_domain(domain=domain, by=by)
    assert not DkimKey.objects.exists()
    assert signing(workspace) == []


def test_only_owners_of_this_workspace_change_anything(
    workspace: Workspace, domain: SendingDomain, teammate: User
) -> None:
    stranger = make_user()
    make_workspace(stranger)
    key = keys_of(domain)[0]
    DkimKey.objects.update(active=True)
    for by in Membership.objects.filter(user__in=[teammate, stranger]):
        for act in (
            lambda by=by: domains.add_domain(workspace=workspace, by=by, name="example.org"),
            lambda by=by: domains.remove_domain(domain=domain, by=by),
            lambda by=by: domains.rotate_key(key=key, by=by),
            lambda by=by: domains.ask_check(domain=domain, by=by),
        ):
            with pytest.raises(NotAllowed):
                act()
    domain.refresh_from_db()
    assert (SendingDomain.objects.count(), DkimKey.objects.count()) == (1, 2)
    assert domain.check_asked_at is None


# The DNS


def test_keys_sign_from_when_they_are_found(
    workspace: Workspace, by: Membership, domain: SendingDomain, zone: Records
) -> None:
    rsa, ed25519 = keys_of(domain)
    assert check(domain, by) == {rsa.selector: "missing", ed25519.selector: "missing"}
    assert signing(workspace) == []
    publish(zone, ed25519)
    assert check(domain, by) == {rsa.selector: "missing", ed25519.selector: "found"}
    assert signing(workspace) == [ed25519.selector]
    publish(zone, rsa)
    assert check(domain, by) == {rsa.selector: "found", ed25519.selector: "found"}
    assert signing(workspace) == [rsa.selector, ed25519.selector]
    assert domain.checked_at is not None
    assert domain.check_asked_at is None


def test_what_is_signed_verifies_with_what_is_published(
    workspace: Workspace, by: Membership, domain: SendingDomain, zone: Records
) -> None:
    publish(zone, *keys_of(domain))
    check(domain, by)
    message = b"From: news@example.com\r\nSubject: Hi\r\n\r\nHi\r\n"
    signed = sign_message(message, selectors.signing_keys(workspace, "news@example.com"), 1)
    records = {name_of(key) + ".": key.record for key in keys_of(domain)}
    for index in range(2):
        assert oracle.DKIM(signed).verify(
            idx=index, dnsfunc=lambda name, timeout=5: records[name.decode()].encode()
        )


@pytest.mark.parametrize(
    "records",
    [
        ['"v=DKIM1; k=rsa; p="'],
        ['"v=spf1 -all"'],
        ['"nonsense"', '"more"'],
        ["the record", '"v=DKIM1; k=rsa; p=QUJD"'],
    ],
    ids=["revoked", "another kind", "nonsense", "two"],
)
def test_another_record_is_not_the_key(
    workspace: Workspace,
    by: Membership,
    domain: SendingDomain,
    zone: Records,
    records: list[str],
) -> None:
    ed25519 = keys_of(domain)[1]
    zone[name_of(ed25519), "TXT"] = [
        f'"{ed25519.record}"' if record == "the record" else record for record in records
    ]
    assert check(domain, by)[ed25519.selector] == "other"
    assert signing(workspace) == []


def test_a_record_written_a_little_otherwise_is_the_key(
    by: Membership, domain: SendingDomain, zone: Records
) -> None:
    rsa = keys_of(domain)[0]
    public = rsa.record.partition("p=")[2]
    zone[name_of(rsa), "TXT"] = [f'"p={public[:200]} " "{public[200:]};t=s"']
    assert check(domain, by)[rsa.selector] == "found"


def test_no_answer_and_a_lost_record_stop_no_signature(
    workspace: Workspace, by: Membership, domain: SendingDomain, zone: Records
) -> None:
    rsa, ed25519 = keys_of(domain)
    publish(zone, rsa, ed25519)
    check(domain, by)
    zone[name_of(rsa), "TXT"] = "SERVFAIL"
    del zone[name_of(ed25519), "TXT"]
    assert check(domain, by) == {rsa.selector: "unknown", ed25519.selector: "missing"}
    assert len(signing(workspace)) == 2


def test_with_a_relay_the_sandbox_is_not_asked(
    workspace: Workspace,
    by: Membership,
    domain: SendingDomain,
    zone: Records,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish(zone, *keys_of(domain))
    Relay.objects.create(workspace=workspace, host="192.0.2.1", port=25)
    asked: list[object] = []

    def resolver(servers: object, **limits: float) -> object:
        asked.append(servers)
        return make_resolver([("127.0.0.1", 9)], timeout=0.1, lifetime=0.1)

    monkeypatch.setattr(authentication, "make_resolver", resolver)
    assert set(check(domain, by).values()) == {"unknown"}
    assert asked == [None]


def test_a_check_that_nobody_asked_for_changes_nothing(
    domain: SendingDomain, zone: Records
) -> None:
    publish(zone, *keys_of(domain))
    domains.check_domain(domain.pk)
    domains.check_domain(domain.pk + 1)
    domain.refresh_from_db()
    assert domain.checked_at is None
    assert not any(key.active for key in keys_of(domain))


@pytest.mark.parametrize("meanwhile", ["asked again", "settled", "removed"])
def test_what_is_seen_too_late_is_dropped(
    by: Membership,
    domain: SendingDomain,
    zone: Records,
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: str,
) -> None:
    publish(zone, *keys_of(domain))
    asked_again = timezone.now() + timedelta(seconds=5)
    real = asyncio.run

    def run(work: Any) -> Any:
        seen = real(work)
        if meanwhile == "removed":
            SendingDomain.objects.all().delete()
        else:
            asked_at = asked_again if meanwhile == "asked again" else None
            SendingDomain.objects.update(check_asked_at=asked_at)
        return seen

    monkeypatch.setattr(asyncio, "run", run)
    domains.ask_check(domain=domain, by=by)
    domains.check_domain(domain.pk)
    assert not SendingDomain.objects.exclude(checked_at=None).exists()
    assert not DkimKey.objects.filter(active=True).exists()
    if meanwhile == "asked again":
        assert SendingDomain.objects.get().check_asked_at == asked_again


@pytest.mark.django_db(transaction=True)
def test_a_check_runs_on_the_default_queue(
    by: Membership, domain: SendingDomain, zone: Records
) -> None:
    publish(zone, *keys_of(domain))
    with running_worker() as done:
        domains.ask_check(domain=domain, by=by)
        domains.ask_check(domain=domain, by=by)
        deadline = time.monotonic() + 10
        while not SendingDomain.objects.exclude(checked_at=None).exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert done == ["apps.senders.tasks.check_domain"]
    assert DkimKey.objects.filter(active=True).count() == 2


# The sweeper


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The domains for which somebody rang, once their transaction is over."""
    bells: list[int] = []
    monkeypatch.setattr(domains, "_ring", bells.append)
    return bells


def sweep(rung: list[int]) -> list[int]:
    rung.clear()
    domains.ring_due_checks()
    return list(rung)


@pytest.mark.django_db(transaction=True)
def test_lost_checks_waiting_keys_and_old_answers_are_due(
    domain: SendingDomain, rung: list[int]
) -> None:
    now = timezone.now()
    due = [domain.pk]

    def at(**minutes: int | None) -> None:
        SendingDomain.objects.update(
            **{
                name: None if ago is None else now - timedelta(minutes=ago)
                for name, ago in minutes.items()
            }
        )

    assert sweep(rung) == []  # as new as it is
    at(checked_at=None, check_asked_at=None, created_at=11)
    assert sweep(rung) == due
    assert sweep(rung) == []  # it has just been asked for
    at(check_asked_at=2)  # and got lost
    assert sweep(rung) == due
    at(checked_at=11, check_asked_at=None)
    assert sweep(rung) == due
    DkimKey.objects.update(active=True)  # nothing waits any more
    at(checked_at=11, check_asked_at=None)
    assert sweep(rung) == []
    at(checked_at=24 * 60 + 1)
    assert sweep(rung) == due
    DkimKey.objects.update(active=False, created_at=now - timedelta(days=4))
    at(checked_at=11, check_asked_at=None)
    assert sweep(rung) == []  # nobody seems to publish it soon
    at(checked_at=24 * 60 + 1)
    assert sweep(rung) == due


# Another key


@pytest.fixture
def published(by: Membership, domain: SendingDomain, zone: Records) -> SendingDomain:
    publish(zone, *keys_of(domain))
    check(domain, by)
    return domain


def test_the_old_key_signs_until_the_new_one_is_seen(
    workspace: Workspace, by: Membership, published: SendingDomain, zone: Records
) -> None:
    old, ed25519 = keys_of(published)
    new = domains.rotate_key(key=old, by=by)
    assert new.algorithm == old.algorithm
    assert new.selector != old.selector
    assert new.record != old.record
    assert check(published, by)[new.selector] == "missing"
    assert signing(workspace) == [old.selector, ed25519.selector]
    publish(zone, new)
    assert check(published, by)[new.selector] == "found"
    assert signing(workspace) == [new.selector, ed25519.selector]
    old.refresh_from_db()
    assert old.retired_at is not None
    assert bytes(old.private_key_encrypted) == b""
    # A retired key is not looked for, and never comes back.
    assert old.selector not in check(published, by)
    assert signing(workspace) == [new.selector, ed25519.selector]


def test_only_a_key_in_use_without_a_successor_is_replaced(
    by: Membership, published: SendingDomain, zone: Records
) -> None:
    rsa, ed25519 = keys_of(published)
    new = domains.rotate_key(key=rsa, by=by)
    for key in (rsa, new):
        with pytest.raises(Conflict):
            domains.rotate_key(key=key, by=by)
    domains.rotate_key(key=ed25519, by=by)
    publish(zone, new)
    check(published, by)
    with pytest.raises(Conflict):
        domains.rotate_key(key=rsa, by=by)
    assert domains.rotate_key(key=new, by=by).selector not in (rsa.selector, new.selector)


@pytest.mark.django_db(transaction=True)
def test_of_two_rotations_at_once_one_makes_a_key(by: Membership, domain: SendingDomain) -> None:
    DkimKey.objects.update(active=True)
    key = keys_of(domain)[1]

    def rotate() -> None:
        with contextlib.suppress(Conflict):
            domains.rotate_key(key=key, by=by)

    with transaction.atomic():
        SendingDomain.objects.select_for_update().get()
        both = [in_thread(rotate), in_thread(rotate)]
        wait_until_blocked()
    for one in both:
        one.result(timeout=30)
    assert DkimKey.objects.filter(active=False, retired_at=None).count() == 1


# Whose keys sign


@pytest.mark.parametrize(
    ("email", "name"),
    [
        ("news@example.com", "example.com"),
        ("News@EXAMPLE.com", "example.com"),
        ("a@mail.example.com", "mail.example.com"),
        ("a@b.mail.example.com", "mail.example.com"),
        ("a@other.example.com", "example.com"),
        ("a@notexample.com", None),
        ("a@com", None),
        ("a@example.com.org", None),
        ("", None),
    ],
)
def test_the_nearest_domain_signs(
    workspace: Workspace, by: Membership, domain: SendingDomain, email: str, name: str | None
) -> None:
    domains.add_domain(workspace=workspace, by=by, name="mail.example.com")
    DkimKey.objects.update(active=True)
    expected = {name} if name else set()
    assert {key.domain for key in selectors.signing_keys(workspace, email)} == expected


def test_a_domain_without_a_key_in_use_leaves_it_to_its_parent(
    workspace: Workspace, by: Membership, domain: SendingDomain
) -> None:
    DkimKey.objects.update(active=True)
    domains.add_domain(workspace=workspace, by=by, name="mail.example.com")
    keys = selectors.signing_keys(workspace, "a@mail.example.com")
    assert {key.domain for key in keys} == {"example.com"}


def test_another_workspaces_keys_sign_nothing_here(domain: SendingDomain) -> None:
    DkimKey.objects.update(active=True)
    assert selectors.signing_keys(make_workspace(make_user()), "news@example.com") == ()


def test_the_private_key_is_in_no_repr_and_no_log(
    workspace: Workspace,
    by: Membership,
    published: SendingDomain,
    zone: Records,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    keys = selectors.signing_keys(workspace, "news@example.com")
    stored = keys_of(published)
    new = domains.rotate_key(key=stored[0], by=by)
    publish(zone, new)
    check(published, by)
    shown = caplog.text + repr(keys) + repr(stored) + "".join(map(str, stored)) + repr(published)
    for key in keys:
        assert key.private_key.splitlines()[1] not in shown
    assert "PRIVATE" not in shown
