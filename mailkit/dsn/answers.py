"""Answers by programs, told apart from reports about letters that were not delivered."""

from __future__ import annotations

import re
from email.message import Message

from mailkit.dsn.parts import field, text_of
from mailkit.dsn.results import Kind

# What vacation programs call themselves, besides RFC 3834's own field.
_OF_PROGRAMS = (
    *("X-Autoreply", "X-Autorespond", "X-Autoresponse", "X-Auto-Reply-From", "X-Mail-Autoreply"),
    *("X-AutoReply-From", "X-Vacation"),
)
_AUTOMATIC_PRECEDENCE = frozenset({"auto_reply", "auto-reply"})
_AWAY = re.compile(
    r"^(?:re: )?(?:auto(?:matic)?[ -]?(?:reply|response|responder|answer)|autoreply"
    r"|out of (?:the )?office|away from (?:my|the) (?:mail|desk|office)|on vacation|vacation"
    r"|i am (?:away|out|on)|absence|abwesen|réponse automatique|respuesta automática"
    r"|risposta automatica|resposta automática|automatische antwort|automatisch antwoord"
    r"|автоответ|автоматический ответ|отпуск|меня нет|нет на месте)"
    r"|(?:out of office|автоответ)\b",
    re.IGNORECASE,
)
_CHALLENGE = re.compile(
    r"(?:please )?(?:confirm|verify) (?:that you|your (?:message|e-?mail|sender))"
    r"|sender (?:verification|confirmation|address confirmation)|spam ?arrest|boxbe|challenge"
    r"|(?:requires|needs|awaiting) (?:sender )?(?:verification|confirmation|authorization)",
    re.IGNORECASE,
)
_FAILURE = re.compile(
    r"undeliver|failure|failed|returned|could not be delivered|rejected|delivery|не доставл",
    re.IGNORECASE,
)
_CHALLENGE_FIELDS = ("X-Boxbe-Fail", "X-Challenge", "X-TMDA-Confirm", "X-ASK-Auth")


def kind_of(message: Message, found: list[Message]) -> Kind:
    """auto_reply or challenge where a program answered, "other" for the rest."""
    subject = field(message, "Subject")
    if any(message.get(name) is not None for name in _CHALLENGE_FIELDS):
        return "challenge"
    sender = field(message, "From").lower()
    # Servers call their reports automatic as well.
    from_server = "mailer-daemon" in sender or "postmaster" in sender
    if not from_server and _CHALLENGE.search(subject) and _asks_for_click(found):
        return "challenge"
    automatic = re.split(r"[\s;(]", field(message, "Auto-Submitted").lower())[0]
    if automatic == "auto-replied" and not from_server and not _speaks_of_failure(subject):
        return "auto_reply"
    if from_server:
        return "other"
    by_program = any(message.get(name) is not None for name in _OF_PROGRAMS)
    precedence = field(message, "Precedence").lower() in _AUTOMATIC_PRECEDENCE
    suppressed = automatic == "auto-generated" and _AWAY.search(subject)
    if by_program or precedence or suppressed or _AWAY.search(subject):
        return "auto_reply" if not _speaks_of_failure(subject) else "other"
    return "other"


def _speaks_of_failure(subject: str) -> bool:
    return _FAILURE.search(subject) is not None


def _asks_for_click(found: list[Message]) -> bool:
    texts = [text_of(part) for part in found if part.get_content_maintype() == "text"]
    return any("http" in text or "reply" in text.lower() for text in texts)
