"""Tasks of the default queue. Messages carry ids; the rows say what is left to do."""

from __future__ import annotations

from apps.senders.services import domains, relays
from core.celery import app


@app.task(name="apps.senders.tasks.check_domain", soft_time_limit=30, time_limit=60)
def check_domain(domain_id: int) -> None:
    """Look for a sending domain's DKIM keys in the DNS."""
    domains.check_domain(domain_id)


@app.task(name="apps.senders.tasks.check_relay", soft_time_limit=170, time_limit=180)
def check_relay(relay_id: int) -> None:
    """Connect to a relay and log in, to see whether it can be used."""
    relays.check_relay(relay_id)
