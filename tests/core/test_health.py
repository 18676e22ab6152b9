from django.test import Client

from core.secrets import installation


def test_the_health_page_answers_without_a_session() -> None:
    response = Client().get("/healthz")
    assert (response.status_code, response.content) == (200, b"ok")
    assert response["X-Installation"] == installation()
