from django.test import Client


def test_the_health_page_answers_without_a_session() -> None:
    response = Client().get("/healthz")
    assert (response.status_code, response.content) == (200, b"ok")
