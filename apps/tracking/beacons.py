"""Open pixels and tracked links: no session, no table, nothing of Django's but the settings.

`Beacons` stands in front of Django in the WSGI application. What it cannot answer at once, such as
a link that Valkey has forgotten, goes on to Django's view, which may look into the table.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from django.utils.encoding import iri_to_uri

from apps.campaigns import links, tokens
from apps.campaigns.tokens import Kind
from apps.tracking import stream
from core.http import written_address

# One transparent pixel (GIF89a).
PIXEL = b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")

_NEVER_CACHED = ("Cache-Control", "max-age=0, no-cache, no-store, must-revalidate, private")
_PRIVATE = [_NEVER_CACHED, ("Referrer-Policy", "no-referrer"), ("X-Robots-Tag", "noindex")]
_PIXEL_HEADERS = [
    ("Content-Type", "image/gif"),
    ("Content-Length", str(len(PIXEL))),
    _NEVER_CACHED,
]

Meta = dict[str, Any]
Application = Callable[[Meta, Callable[..., Any]], Iterable[bytes]]
Finder = Callable[[int, int], str | None]


class Answer(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""


class Beacons:
    """A WSGI application that answers for pixels and links, and leaves the rest to another."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, meta: Meta, start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = meta["PATH_INFO"]
        answer = None
        if meta["REQUEST_METHOD"] in ("GET", "HEAD"):
            if path.startswith("/o/") and path.endswith(".gif"):
                answer = pixel(meta, path[3:-4])
            elif path.startswith("/c/"):
                answer = click(meta, path[3:], links.known)
        if answer is None:
            return self._application(meta, start_response)
        start_response("200 OK" if answer.status == 200 else "302 Found", answer.headers)
        return () if meta["REQUEST_METHOD"] == "HEAD" else (answer.body,)


def pixel(meta: Meta, token: str) -> Answer:
    """The same picture for every token: whether it is ours is nobody's business."""
    ids = tokens.read(Kind.OPEN, token)
    if ids is not None:
        _note("open", ids, meta)
    return Answer(200, list(_PIXEL_HEADERS), PIXEL)


def click(meta: Meta, token: str, find: Finder) -> Answer | None:
    """On to where the letter's link leads; None for a token that is not ours, or not found.

    The address comes from the campaign alone: nothing that a request says can change it.
    """
    ids = tokens.read(Kind.CLICK, token)
    url = find(ids[0], ids[2]) if ids else None
    if ids is None or url is None:
        return None
    _note("click", ids, meta)
    # Only what no header can hold is written in another way.
    as_stored = url.isascii() and url.isprintable() and " " not in url
    location = ("Location", url if as_stored else iri_to_uri(url))
    return Answer(302, [location, ("Content-Length", "0"), *_PRIVATE])


def _note(kind: str, ids: tuple[int, int, int], meta: Meta) -> None:
    """HEAD, which people do not send, counts for nothing."""
    if meta["REQUEST_METHOD"] == "GET":
        agent = meta.get("HTTP_USER_AGENT", "")
        stream.append(stream.beacon(kind, *ids, agent, written_address(meta)))
