from __future__ import annotations

import re
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailkit.providers import OTHER, PROVIDERS, provider_of


@pytest.mark.parametrize(
    ("domain", "mx_hosts", "key"),
    [
        ("gmail.com", (), "gmail"),
        ("GMail.COM.", (), "gmail"),
        ("shop.example", ("aspmx.l.google.com", "alt1.aspmx.l.google.com"), "gmail"),
        ("shop.example", ("smtp.google.com.",), "gmail"),
        ("hotmail.com", (), "microsoft"),
        ("shop.example", ("shop-example.mail.protection.outlook.com",), "microsoft"),
        ("shop.example", ("shop-example.a-v1.mx.microsoft",), "microsoft"),
        ("aol.com", ("mx-aol.mail.gm0.yahoodns.net",), "yahoo"),
        ("shop.example", ("mta5.am0.yahoodns.net",), "yahoo"),
        ("shop.example", ("mx01.mail.icloud.com",), "apple"),
        ("bk.ru", (), "mailru"),
        ("shop.example", ("emx.mail.ru",), "mailru"),
        ("ya.ru", (), "yandex"),
        ("shop.example", ("mx.yandex.net",), "yandex"),
        ("shop.example", ("MX.YANDEX.RU",), "yandex"),
        ("ro.ru", (), "rambler"),
        ("web.de", ("mx-ha02.web.de",), "gmx"),
        ("shop.example", ("eu-smtp-inbound-1.mimecast.com",), "mimecast"),
        # The most preferred host decides; one that nobody knows does not.
        ("shop.example", ("mx.yandex.net", "aspmx.l.google.com"), "yandex"),
        ("shop.example", ("mx.shop.example", "aspmx.l.google.com"), "gmail"),
        # Not by a part of a label.
        ("notgmail.com", (), OTHER),
        ("shop.example", ("mx.notgoogle.com",), OTHER),
        ("shop.example", ("google.com.shop.example",), OTHER),
        ("inbox.sandbox.test", ("mx.sandbox.test",), OTHER),
        ("", (), OTHER),
        ("", ("", "."), OTHER),
    ],
)
def test_domains_and_mail_servers(domain: str, mx_hosts: tuple[str, ...], key: str) -> None:
    assert provider_of(domain, mx_hosts) == key


@given(st.text(), st.lists(st.text()))
def test_any_names_have_one_provider(domain: str, mx_hosts: list[str]) -> None:
    assert provider_of(domain, mx_hosts) in PROVIDERS


def test_the_table_holds_together() -> None:
    for key, provider in PROVIDERS.items():
        assert re.fullmatch(r"[a-z-]{1,16}", key)
        assert all(name == name.lower() for name in provider.domains + provider.mx_suffixes)
        numbers = [getattr(provider.limits, name) for name in provider.limits.__slots__]
        assert all(number is None or number > 0 for number in numbers)
        # Every number has a source.
        assert bool(provider.source) == any(number is not None for number in numbers)
    for one, other in combinations(PROVIDERS.values(), 2):
        assert not set(one.domains) & set(other.domains)
        assert not set(one.mx_suffixes) & set(other.mx_suffixes)


def test_others_have_no_limits() -> None:
    assert PROVIDERS[OTHER].limits == type(PROVIDERS[OTHER].limits)()
