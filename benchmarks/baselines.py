"""What others do with the same letters, on the same machine, against the same sink."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import time
from collections.abc import Sequence

import aiosmtplib
import uvloop
from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.signing import Signer
from django.template import Context, Template

from apps.mailer.models import Contact, ContactList
from benchmarks import pipeline
from benchmarks.support import BenchError, Sink, program
from mailkit.text import html_to_text

OPENSSL_SECONDS = 3
_RATES = re.compile(r"^rsa\s+2048 bits(?:\s+[\d.]+s)+\s+([\d.]+)", re.MULTILINE)

# The letter's merge fields are written in Django's templates as in ours. Links with signed tokens
# and the open pixel are made with Django's own means.
_LINK = re.compile(r"https://books\.example/[a-z/-]+")
_LINKS = _LINK.findall(pipeline.LETTER)


def _tracked(letter: str) -> str:
    return _LINK.sub(lambda link: f"{{{{ link_{_LINKS.index(link[0])} }}}}", letter)


_SIGNER = Signer()
_PIXEL = '<img src="{{ pixel }}" width="1" height="1" alt=""></body>'
_SUBJECT = Template(pipeline.SUBJECT)
_HTML = Template(_tracked(pipeline.LETTER).replace("</body>", _PIXEL))
_TEXT = Template(_tracked(html_to_text(pipeline.LETTER)))


def readers(target: ContactList, number: int) -> list[Contact]:
    return list(Contact.objects.filter(lists=target).order_by("pk")[:number])


def django(sink: Sink, contacts: Sequence[Contact]) -> float:
    """Messages a second of EmailMultiAlternatives over one connection that stays open."""
    backend = "django.core.mail.backends.smtp.EmailBackend"
    with get_connection(backend, host="127.0.0.1", port=sink.port) as connection:
        began = time.monotonic()
        for contact in contacts:
            letter = _compose(contact)
            letter.connection = connection
            letter.send()
        return len(contacts) / (time.monotonic() - began)


def _compose(contact: Contact) -> EmailMultiAlternatives:
    url = _signed("u", contact, 0)
    values = {
        **contact.fields,
        "email": contact.email,
        "first_name": contact.first_name,
        "unsubscribe_url": url,
        "pixel": _signed("o", contact, 0),
        **{f"link_{number}": _signed("c", contact, number) for number in range(len(_LINKS))},
    }
    context = Context(values)
    letter = EmailMultiAlternatives(
        _SUBJECT.render(context),
        _TEXT.render(context),
        f"Harbour Books <{pipeline.SENDER}>",
        [contact.email],
        headers={
            "List-Unsubscribe": f"<{url}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        },
    )
    letter.attach_alternative(_HTML.render(context), "text/html")
    return letter


def _signed(kind: str, contact: Contact, number: int) -> str:
    return f"{settings.BASE_URL}/{kind}/{_SIGNER.sign(f'{contact.pk}.{number}')}/"


def aiosmtplib_loop(sink: Sink, contacts: Sequence[Contact], connections: int) -> float:
    """Messages a second of aiosmtplib on uvloop, so many connections in one process.

    The letters are composed before the clock starts: this is the price of SMTP alone.
    """
    letters = [(one.email, _compose(one).message().as_bytes()) for one in contacts]

    async def work(waiting: list[tuple[str, bytes]]) -> None:
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=sink.port) as client:
            while waiting:
                recipient, letter = waiting.pop()
                await client.sendmail(pipeline.SENDER, [recipient], letter)

    async def all_of_them() -> float:
        began = time.monotonic()
        await asyncio.gather(*(work(letters) for _ in range(connections)))
        return len(contacts) / (time.monotonic() - began)

    return uvloop.run(all_of_them())


def smtp_source(sink: Sink, connections: int, messages: int, octets: int) -> float:
    """Messages a second of `smtp-source -d`; 0 where Postfix's tools are absent.

    `octets` is the size of the body: it writes headers of its own.
    """
    binary = program("smtp-source")
    if binary is None or sink.process is None:
        return 0.0
    command = [binary, "-d", "-s", str(connections), "-m", str(messages), "-l", str(octets)]
    began = time.monotonic()
    done = subprocess.run(
        [*command, f"127.0.0.1:{sink.port}"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchError(f"smtp-source failed: {done.stdout}{done.stderr}")
    return messages / (time.monotonic() - began)


def openssl() -> float:
    """RSA-2048 signatures a second of `openssl speed` on all cores; 0 where it is absent."""
    binary = program("openssl")
    if binary is None:
        return 0.0
    command = [binary, "speed", "-multi", str(os.cpu_count() or 1)]
    done = subprocess.run(
        [*command, "-seconds", str(OPENSSL_SECONDS), "rsa2048"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = _RATES.search(done.stdout)
    if found is None:
        raise BenchError(f"openssl speed cannot be read: {done.stdout}{done.stderr}")
    return float(found[1])
