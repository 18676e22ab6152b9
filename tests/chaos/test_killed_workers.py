"""Workers that die in the middle of a campaign: nothing lost, nothing sent twice."""

from __future__ import annotations

import json
import re
import time

import psutil
import pytest

from tests.support.stack import RunningStack

pytestmark = pytest.mark.timeout(280)

RECIPIENTS = 6000
KILLS = 3
# Rows that one process of the pool may hold in the middle of a hand-off.
GROUP = 50
POOL = 4


def make_audience(stack: RunningStack, slug: str) -> int:
    """A list of valid contacts in the workspace; returns the workspace's id."""
    [(workspace,)] = stack.sql("SELECT id FROM accounts_workspace WHERE slug = %s", slug)
    stack.sql(
        """
        WITH made AS (
            INSERT INTO mailer_contact
                (workspace_id, email, first_name, last_name, fields, status, verdict, reason,
                 evidence, check_attempts, created_at, updated_at)
            SELECT %s, 'person.' || n || '@inbox.sandbox.test', 'Person ' || n, '', '{}',
                   'subscribed', 'valid', 'mailbox_exists', '{}', 0, now(), now()
            FROM generate_series(1, %s) n RETURNING id),
        list AS (
            INSERT INTO mailer_contactlist (workspace_id, name, created_at)
            VALUES (%s, 'Everybody', now()) RETURNING id)
        INSERT INTO mailer_listmember (list_id, contact_id)
        SELECT list.id, made.id FROM list, made RETURNING 1
        """,
        workspace, RECIPIENTS, workspace,
    )  # fmt: skip
    return int(workspace)


def statuses(stack: RunningStack, campaign: int) -> dict[str, int]:
    query = "SELECT status, count(*) FROM campaigns_delivery WHERE campaign_id = %s GROUP BY status"
    return dict(stack.sql(query, campaign))


def wait_until_sent(stack: RunningStack, campaign: int, more_than: int) -> int:
    deadline = time.monotonic() + 120
    while (sent := statuses(stack, campaign).get("sent", 0)) <= more_than:
        assert time.monotonic() < deadline, statuses(stack, campaign)
        if sent == RECIPIENTS:
            break
    return sent


def kill_pool(stack: RunningStack, queue: str) -> None:
    """SIGKILL to the parent and every child, as the out-of-memory killer would."""
    victims = stack.workers(queue)
    assert victims
    for victim in victims:
        victim.kill()
    psutil.wait_procs(victims, timeout=10)


def test_email_workers_killed_in_the_middle(stack: RunningStack) -> None:
    stack.manage("create_account", "kill@example.com", "--workspace", "Kill")
    workspace = make_audience(stack, "kill")
    made = json.loads(
        stack.manage(
            "create_campaign", "--workspace", "kill", "--list", "Everybody", "--json",
            "--subject", "Hello {{ first_name }}", "--html", "samples/letter.html",
        )
    )  # fmt: skip
    campaign = made["campaign"]
    stack.manage("launch_campaign", str(campaign), "--workspace", "kill")
    kills, sent = 0, 0
    for _number in range(KILLS):
        sent = wait_until_sent(stack, campaign, more_than=sent)
        if sent < RECIPIENTS:
            kill_pool(stack, "email")
            kills += 1
    assert kills >= 1

    report = json.loads(
        stack.manage("campaign_report", str(campaign), "--workspace", "kill", "--wait", "--json")
    )

    assert report["state"] == "finished"
    counts = report["deliveries"]
    assert counts["sent"] + counts["unknown"] == RECIPIENTS
    assert counts["unknown"] <= kills * GROUP * POOL
    inbox = [
        message_id
        for (message_id,) in stack.sql(
            "SELECT message_id FROM sandbox_message WHERE inbox = %s", str(workspace)
        )
    ]
    assert len(set(inbox)) == len(inbox), "a letter was sent twice"
    arrived = {int(re.match(r"<\d+\.(\d+)\.", message_id)[1]) for message_id in inbox}  # type: ignore[index]
    sent_to = {
        contact
        for (contact,) in stack.sql(
            "SELECT contact_id FROM campaigns_delivery WHERE campaign_id = %s AND status = 'sent'",
            campaign,
        )
    }
    assert sent_to <= arrived, "the ledger says sent and the inbox has not got it"
