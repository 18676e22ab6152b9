"""Pasted contacts and the page of columns, beside what test_views says of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.conf import settings
from django.test import Client

from apps.accounts.models import User, Workspace
from apps.mailer.models import ContactField, Import
from tests.apps.mailer.helpers import upload

pytestmark = pytest.mark.django_db
URL = "/w/shop/audience/imports/new/"


@pytest.fixture
def client(client_of: Callable[[User], Client], owner: User, workspace: Workspace) -> Client:
    return client_of(owner)


@pytest.mark.parametrize("htmx", [False, True])
def test_too_much_pasted_text_says_what_to_do(client: Client, htmx: bool) -> None:
    text = "person@example.com\n" * (settings.DATA_UPLOAD_MAX_MEMORY_SIZE // 19 + 1)
    client.raise_request_exception = False
    response = client.post(URL, {"text": text}, headers={"HX-Request": "true"} if htmx else {})
    assert response.status_code == 400
    assert "put it into a file and upload that" in response.text
    assert ("<html" in response.text) is not htmx
    assert not Import.objects.exists()


def test_the_page_shows_a_column_by_its_first_values(client: Client, workspace: Workspace) -> None:
    rows = ["a@x.test;Уфа", "b@x.test;Уфа", "c@x.test;", "d@x.test; Омск ", "e@x.test;Орёл"]
    job = upload(workspace, "\n".join(["Email;", *rows, "f@x.test;Псков"]))
    form = client.get(f"/w/shop/audience/imports/{job.pk}/columns/").context["form"]
    email, city = form.columns()
    assert email.examples == ("a@x.test", "b@x.test", "c@x.test")
    assert (city.header, city.examples) == ("Column 2", ("Уфа", "Омск", "Орёл"))


def test_a_column_goes_to_the_field_of_the_same_meaning(
    client: Client, workspace: Workspace
) -> None:
    ContactField.objects.create(workspace=workspace, key="telefon", label="Телефон")
    job = upload(workspace, "E-mail,Mobile phone,Index\na@x.test,1234567,450000\n")
    form = client.get(f"/w/shop/audience/imports/{job.pk}/columns/").context["form"]
    assert [column.target.value() for column in form.columns()] == ["email", "telefon", "+"]
