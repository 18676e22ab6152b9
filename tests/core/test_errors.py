from __future__ import annotations

import json

import pytest
from django.contrib.messages import get_messages
from django.contrib.messages.storage.fallback import FallbackStorage
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from core.errors import AppErrorMiddleware, Conflict, InvalidInput, NotAllowed

middleware = AppErrorMiddleware(lambda request: HttpResponse())


def request_with(**headers: str) -> HttpRequest:
    request = RequestFactory().post("/w/shop/", headers=headers)
    request.session = SessionStore()
    request._messages = FallbackStorage(request)  # type: ignore[attr-defined]
    return request


@pytest.mark.parametrize(
    ("error", "status"), [(Conflict("no"), 409), (InvalidInput("no"), 422), (NotAllowed("no"), 403)]
)
def test_programs_get_the_code(error: Exception, status: int) -> None:
    response = middleware.process_exception(request_with(accept="application/json"), error)
    assert response is not None
    assert response.status_code == status
    assert json.loads(response.content)["error"]["message"] == "no"


def test_other_errors_are_left_alone() -> None:
    assert middleware.process_exception(request_with(), ValueError("bug")) is None


@pytest.mark.parametrize(
    ("referrer", "target"),
    [
        ("http://testserver/w/shop/x/?a=1", "http://testserver/w/shop/x/?a=1"),
        ("", "/"),
        ("https://evil.test/", "/"),
        ("http://testserver.evil.test/", "/"),
        ("http://testserver@evil.test/", "/"),
        # A path that a browser would take for another host if it stood alone.
        ("http://testserver//evil.test/", "http://testserver//evil.test/"),
    ],
)
def test_people_get_the_message_on_the_page_they_were_on(referrer: str, target: str) -> None:
    request = request_with(referer=referrer)
    response = middleware.process_exception(request, Conflict("Too late"))
    assert response is not None
    assert response.status_code == 302
    assert response["Location"] == target
    assert [str(message) for message in get_messages(request)] == ["Too late"]
