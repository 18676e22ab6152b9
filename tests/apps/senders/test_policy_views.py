from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import pytest
from django.template.loader import render_to_string
from django.test import Client, RequestFactory
from django.utils import timezone

from apps.accounts.models import User, Workspace
from apps.senders.models import ProviderLimit, SendingDomain, SendingPolicy, SentToday, WarmUp
from apps.senders.selectors import policy_of
from apps.senders.services.limits import forecast_for
from mailkit.warmup import Forecast
from tests.support import factories

ClientOf = Callable[[User], Client]
PAGE = "/w/shop/senders/limits/"
POLICY = {
    "forecast_percent": "4",
    "retry_for_hours": "48",
    "hard_bounce_percent": "5",
    "block_percent": "7.5",
    "complaint_percent": "0.1",
    "least_sample": "500",
    "time_zone": "Europe/Berlin",
}
PLAN = {
    "provider": "gmail",
    "start": "50",
    "growth_percent": "20",
    "ceiling": "5000",
    "started_on": "2027-01-01",
}


@pytest.fixture
def domain(workspace: Workspace) -> SendingDomain:
    return SendingDomain.objects.create(workspace=workspace, name="shop.example")


@pytest.fixture
def plan(domain: SendingDomain) -> WarmUp:
    return WarmUp.objects.create(domain=domain, started_on=date(2027, 1, 1))


@pytest.fixture
def paths(domain: SendingDomain, plan: WarmUp) -> list[str]:
    """Every page that changes something."""
    return [
        PAGE + tail
        for tail in (
            "policy/",
            "providers/gmail/",
            f"domains/{domain.pk}/",
            "warm-up/new/",
            f"warm-up/{plan.pk}/",
            f"warm-up/{plan.pk}/delete/",
        )
    ]


def test_owners_change_teammates_look_and_outsiders_find_nothing(
    paths: list[str], owner: User, teammate: User, outsider: User, client_of: ClientOf
) -> None:
    for path in [PAGE, *paths]:
        assert client_of(owner).get(path).status_code == 200, path
        assert client_of(outsider).get(path).status_code == 404, path
        assert client_of(outsider).post(path, PLAN | POLICY).status_code in (404, 405), path
        assert Client().get(path).status_code == 302, path
    page = client_of(teammate).get(PAGE)
    assert page.status_code == 200
    for path in paths:
        assert path not in page.content.decode()
        assert path in client_of(owner).get(PAGE).content.decode()
        for method in ("get", "post"):
            asked = getattr(client_of(teammate), method)(
                path, PLAN | POLICY, headers={"accept": "application/json"}
            )
            assert asked.status_code == 403, path
    assert WarmUp.objects.count() == 1
    assert not SendingPolicy.objects.exists()
    assert not ProviderLimit.objects.exists()


def test_what_belongs_to_another_workspace_is_not_found(
    owner: User, workspace: Workspace, client_of: ClientOf
) -> None:
    stranger = SendingDomain.objects.create(
        workspace=factories.make_workspace(), name="stranger.example"
    )
    plan = WarmUp.objects.create(domain=stranger, started_on=date(2027, 1, 1))
    client = client_of(owner)
    for tail in (f"domains/{stranger.pk}/", f"warm-up/{plan.pk}/", f"warm-up/{plan.pk}/delete/"):
        assert client.get(PAGE + tail).status_code == 404
        assert client.post(PAGE + tail, PLAN).status_code == 404
    assert client.get(PAGE + "providers/nobody/").status_code == 404
    SendingDomain.objects.create(workspace=workspace, name="shop.example")
    response = client.post(PAGE + "warm-up/new/", PLAN | {"domain": stranger.pk})
    assert response.status_code == 422
    assert "stranger.example" not in client.get(PAGE).content.decode()
    assert WarmUp.objects.count() == 1


def test_the_policy_is_saved_and_shown(
    workspace: Workspace, owner: User, client_of: ClientOf
) -> None:
    client = client_of(owner)
    assert policy_of(workspace).retry_for_hours == 24
    assert client.post(PAGE + "policy/", POLICY).status_code == 302
    saved = policy_of(workspace)
    assert (saved.retry_for_hours, saved.block_percent, saved.least_sample) == (48, 7.5, 500)
    assert client.post(PAGE + "policy/", POLICY | {"retry_for_hours": "1"}).status_code == 302
    assert SendingPolicy.objects.get().retry_for_hours == 1
    page = client.get(PAGE).content.decode()
    assert "tried again for 1 hour." in page
    assert "Europe/Berlin" in page


@pytest.mark.parametrize(
    "bad",
    [
        {"retry_for_hours": "0"},
        {"retry_for_hours": "121"},
        {"hard_bounce_percent": "101"},
        {"block_percent": "-1"},
        {"complaint_percent": "nan"},
        {"least_sample": "0"},
        {"least_sample": "99999999999"},
        {"time_zone": "Mars/Phobos"},
    ],
)
def test_a_policy_that_cannot_be_is_refused(
    workspace: Workspace, owner: User, client_of: ClientOf, bad: dict[str, str]
) -> None:
    response = client_of(owner).post(PAGE + "policy/", POLICY | bad)
    assert response.status_code == 422
    assert f'id="id_{next(iter(bad))}_error"' in response.content.decode()
    assert not SendingPolicy.objects.exists()


def test_a_provider_gets_limits_and_its_defaults_back(
    workspace: Workspace, owner: User, client_of: ClientOf
) -> None:
    client = client_of(owner)
    form = client.get(PAGE + "providers/yahoo-japan/").content.decode()
    assert 'value="600"' in form
    assert "KumoMTA" in form
    path = PAGE + "providers/gmail/"
    assert client.post(path, {"per_minute": "100", "connections": "3"}).status_code == 302
    assert client.post(path, {"per_minute": "200", "per_day": ""}).status_code == 302
    saved = ProviderLimit.objects.get()
    assert (saved.per_minute, saved.per_day, saved.connections) == (200, None, None)
    assert "200 a minute" in client.get(PAGE).content.decode()
    for bad in ({"per_minute": "0"}, {"per_hour": "-3"}, {"per_day": "many"}):
        assert client.post(path, bad).status_code == 422
    assert client.post(path, {"reset": "1"}).status_code == 302
    assert not ProviderLimit.objects.exists()


def test_a_domain_gets_limits(domain: SendingDomain, owner: User, client_of: ClientOf) -> None:
    path = f"{PAGE}domains/{domain.pk}/"
    assert client_of(owner).post(path, {"per_hour": "1000"}).status_code == 302
    domain.refresh_from_db()
    assert (domain.per_minute, domain.per_hour) == (None, 1000)
    assert "1,000 an hour" in client_of(owner).get(PAGE).content.decode()
    assert client_of(owner).post(path, {"per_hour": "0"}).status_code == 422


def test_a_warm_up_plan_is_made_changed_and_removed(
    domain: SendingDomain, owner: User, client_of: ClientOf
) -> None:
    client = client_of(owner)
    assert "No warm-up plan" in client.get(PAGE).content.decode()
    new = PLAN | {"domain": str(domain.pk), "started_on": str(timezone.now().date())}
    assert client.post(PAGE + "warm-up/new/", new).status_code == 302
    twice = client.post(PAGE + "warm-up/new/", new)
    assert twice.status_code == 422
    assert "There is a plan" in twice.content.decode()
    plan = WarmUp.objects.get()
    SentToday.objects.create(domain=domain, provider="gmail", day=timezone.now().date(), number=7)
    assert "7 of 50" in client.get(PAGE).content.decode()
    path = f"{PAGE}warm-up/{plan.pk}/"
    assert client.post(path, new | {"provider": "", "start": "60"}).status_code == 302
    assert "60 to each" in client.get(PAGE).content.decode()
    assert (
        "Remove the warm-up plan of shop.example" in client.get(path + "delete/").content.decode()
    )
    assert WarmUp.objects.get().pk == plan.pk
    assert client.post(path + "delete/").status_code == 302
    assert not WarmUp.objects.exists()


@pytest.mark.parametrize(
    "bad",
    [
        {"start": "0"},
        {"start": "6000"},
        {"ceiling": "0"},
        {"ceiling": "2000000000"},
        {"growth_percent": "-1"},
        {"growth_percent": "1001"},
        {"started_on": "soon"},
        {"provider": "nobody"},
        {"domain": ""},
    ],
)
def test_a_plan_that_cannot_be_is_refused(
    domain: SendingDomain, owner: User, client_of: ClientOf, bad: dict[str, str]
) -> None:
    new = PLAN | {"domain": str(domain.pk)} | bad
    assert client_of(owner).post(PAGE + "warm-up/new/", new).status_code == 422
    assert not WarmUp.objects.exists()


def test_without_a_domain_the_page_leads_to_the_domains(
    workspace: Workspace, owner: User, client_of: ClientOf
) -> None:
    assert "No sending domain yet" in client_of(owner).get(PAGE).content.decode()
    response = client_of(owner).get(PAGE + "warm-up/new/")
    assert response.headers["Location"] == "/w/shop/senders/domains/"


def test_the_launch_page_can_say_how_long_it_takes(
    workspace: Workspace, domain: SendingDomain
) -> None:
    today = timezone.now().date()
    WarmUp.objects.create(domain=domain, start=100, growth_percent=0, ceiling=100, started_on=today)
    SentToday.objects.create(domain=domain, provider="gmail", day=today, number=60)
    SendingDomain.objects.filter(pk=domain.pk).update(per_hour=100)
    found = forecast_for(workspace, None, "news.shop.example", {"gmail": 300, "yandex": 20})
    assert found == Forecast(4, 3 * 3600.0, "gmail", {"gmail": 4, "yandex": 1})
    assert forecast_for(workspace, None, "else.example", {"gmail": 300}).days == 1

    def words(forecast: Forecast) -> str:
        request = RequestFactory().get("/")
        request.workspace = workspace  # type: ignore[attr-defined]
        return " ".join(
            render_to_string("senders/_forecast.html", {"forecast": forecast}, request).split()
        )

    assert "about 4 days: Gmail takes the longest" in words(found)
    assert "at least 2 h 0 min" in words(Forecast(1, 7200.0, "", {"gmail": 1}))
    assert words(Forecast(1, 5.0, "", {"gmail": 1})) == ""


def test_a_plan_shows_the_number_of_its_day(
    domain: SendingDomain, owner: User, client_of: ClientOf
) -> None:
    started = timezone.now().date() - timedelta(days=1)
    WarmUp.objects.create(domain=domain, start=1000, growth_percent=50, started_on=started)
    assert "1,500 to each" in client_of(owner).get(PAGE).content.decode()
