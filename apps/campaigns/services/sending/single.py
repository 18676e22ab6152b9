"""One letter by itself, outside the ledger: a test letter, or one that asks to confirm."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import wait
from datetime import timedelta

from django.utils.translation import gettext as _

from apps.campaigns.services.ledger.results import Result
from apps.campaigns.services.sending import connections
from apps.campaigns.services.sending.handover import Handover, Ready
from apps.campaigns.services.sending.outcomes import result_of
from apps.senders.selectors import Route, choose_route
from mailkit.smtp.message import WireMessage

# For the server's answer; a thread of its own waits longer.
WAIT_SECONDS = 5.0


def hand_over(
    routes: list[Route],
    *,
    key: str,
    to: str,
    message: WireMessage,
    envelope_from: str,
    settle: Callable[[str, int | None, str], None],
    renew: Callable[[], None],
) -> None:
    """Send now; `settle` gets sent, failed or unknown, the server's code and its words.

    What a campaign would try again later has failed: somebody waits for such a letter. `renew` is
    called now and then while a slow server is waited for.
    """
    route = choose_route(routes, key) or next(iter(routes), None)
    if route is None:
        settle("failed", None, _("All SMTP relays are switched off."))
        return
    letter = Ready(0, to, message, 0)
    handover = Handover([letter])
    future = connections.sender().hand_over(
        route, handover, envelope_from=envelope_from, connections=1
    )

    def finish() -> None:
        outcome = next((outcome for _row, outcome in handover.collect()), handover.failure)
        result: Result = result_of(letter, outcome, retry_for=timedelta(0))
        settle(result.status, result.code, result.reply)

    wait([future], timeout=WAIT_SECONDS)
    if future.done():
        future.result()
        finish()
    else:
        connections.sender().see_out(future, renew=renew, finish=finish)
