"""Our own samples of what common servers send back, and what they mean: tests/golden/dsn."""

from __future__ import annotations

import ast
import importlib.util
import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from core.local.runtime import BASE_DIR
from mailkit.dsn import Returned, read
from mailkit.dsn.parts import LARGEST, MOST_PARTS

FOLDER = BASE_DIR / "tests" / "golden" / "dsn"
OURS = "<7.9.AAAAAAAAAAAAAAAA@shop.test>"
# Of each sample: its kind, and the recipient and class of its first report.
EXPECTED: dict[str, tuple[str, str, str]] = {
    "answer": ("other", "", ""),
    "answer-delivery": ("other", "", ""),
    "arf-auth-failure": ("other", "", ""),
    "arf-fraud": ("complaint", "kim@example.net", "other"),
    "arf-mailru": ("complaint", "oleg@mail.example", "other"),
    "arf-not-spam": ("other", "", ""),
    "arf-opt-out": ("complaint", "kim@example.net", "other"),
    "arf-yahoo": ("complaint", "tom@yahoo.example", "other"),
    "auto-german": ("auto_reply", "", "other"),
    "auto-out-of-office": ("auto_reply", "", "other"),
    "auto-outlook": ("auto_reply", "", "other"),
    "auto-precedence": ("auto_reply", "", "other"),
    "auto-rfc3834": ("auto_reply", "", "other"),
    "auto-russian": ("auto_reply", "", "other"),
    "auto-x-autoreply": ("auto_reply", "", "other"),
    "challenge": ("challenge", "", "other"),
    "challenge-boxbe": ("challenge", "", "other"),
    "delivered": ("other", "", ""),
    "domino": ("bounce", "leo@corp.example", "mailbox"),
    "exchange-restricted": ("bounce", "eva@corp.example", "relay"),
    "exim-full": ("bounce", "nina@example.net", "full"),
    "exim-unknown": ("bounce", "nina@example.net", "mailbox"),
    "exim-unrouteable": ("bounce", "nina@gone.example", "mailbox"),
    "forwarded": ("bounce", "leo@example.net", "mailbox"),
    "gmail-delay": ("delayed", "petr@gmail.example", "network"),
    "gmail-disabled": ("bounce", "petr@gmail.example", "mailbox"),
    "gmail-full": ("bounce", "petr@gmail.example", "full"),
    "gmail-spam": ("bounce", "petr@gmail.example", "spam"),
    "gmail-unauthenticated": ("bounce", "petr@gmail.example", "authentication"),
    "gmail-unknown": ("bounce", "petr@gmail.example", "mailbox"),
    "icloud-full": ("bounce", "ann@icloud.example", "full"),
    "mailru-full": ("bounce", "oleg@mail.example", "full"),
    "mailru-spam": ("bounce", "oleg@mail.example", "spam"),
    "mailru-unknown": ("bounce", "oleg@mail.example", "mailbox"),
    "microsoft-jmrp": ("complaint", "eva@outlook.example", "other"),
    "opensmtpd": ("bounce", "leo@example.net", "mailbox"),
    "outlook-blocked": ("bounce", "eva@outlook.example", "spam"),
    "outlook-denied": ("bounce", "eva@corp.example", "mailbox"),
    "outlook-full": ("bounce", "eva@corp.example", "full"),
    "outlook-unknown": ("bounce", "eva@corp.example", "mailbox"),
    "postfix-delayed": ("delayed", "ivan@slow.example", "network"),
    "postfix-full": ("bounce", "olga@example.net", "full"),
    "postfix-greylisted-out": ("bounce", "olga@example.net", "other"),
    "postfix-loop": ("bounce", "olga@example.net", "other"),
    "postfix-no-host": ("bounce", "ivan@nowhere.example", "mailbox"),
    "postfix-timed-out": ("bounce", "ivan@slow.example", "network"),
    "postfix-too-large": ("bounce", "olga@example.net", "size"),
    "postfix-unknown": ("bounce", "ivan@example.net", "mailbox"),
    "qmail-full": ("bounce", "nina@example.net", "full"),
    "qmail-unknown": ("bounce", "nina@example.net", "mailbox"),
    "sendmail-expired": ("bounce", "leo@example.net", "network"),
    "sendmail-unknown": ("bounce", "leo@example.net", "mailbox"),
    "ses-suppressed": ("bounce", "ann@example.net", "mailbox"),
    "yahoo-deferred-out": ("bounce", "tom@yahoo.example", "rate"),
    "yahoo-unknown": ("bounce", "tom@yahoo.example", "mailbox"),
    "yandex-policy": ("bounce", "vera@yandex.example", "spam"),
    "yandex-unknown": ("bounce", "vera@yandex.example", "mailbox"),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_samples_of_common_servers(name: str) -> None:
    kind, recipient, fault = EXPECTED[name]
    returned = read((FOLDER / f"{name}.eml").read_bytes())
    report = returned.reports[0] if returned.reports else None
    assert returned.kind == kind
    assert (report.recipient if report else "") == recipient
    assert (report.fault if report else "") == fault
    if kind == "bounce":
        assert report is not None
        assert report.hard == (fault == "mailbox")
        assert report.text


def test_every_sample_is_expected() -> None:
    assert {path.stem for path in FOLDER.glob("*.eml")} == EXPECTED.keys()


def test_the_letter_is_named() -> None:
    for name in ("postfix-unknown", "qmail-unknown", "exim-full", "arf-yahoo", "microsoft-jmrp"):
        returned = read((FOLDER / f"{name}.eml").read_bytes())
        assert returned.message_ids[0] == OURS, name
    returned = read((FOLDER / "arf-mailru.eml").read_bytes())
    assert "b+1101010203@returns.shop.test" in returned.addresses


def test_the_words_of_the_server_are_kept() -> None:
    (report,) = read((FOLDER / "postfix-full.eml").read_bytes()).reports
    assert report.text == "552 5.2.2 <olga@example.net>: user is over quota"
    assert (report.code, report.status) == (552, "5.2.2")


def test_several_recipients() -> None:
    raw = (FOLDER / "postfix-unknown.eml").read_bytes()
    second = (
        b"\nFinal-Recipient: rfc822; olga@example.net\nAction: delayed\nStatus: 4.2.2\n"
        b"Diagnostic-Code: smtp; 452 4.2.2 over quota\n"
    )
    place = raw.index(b"\n--=_postfix-unknown\nContent-Type: message/rfc822")
    reports = read(raw[:place] + second + raw[place:]).reports
    assert [(one.kind, one.recipient, one.fault) for one in reports] == [
        ("bounce", "ivan@example.net", "mailbox"),
        ("delayed", "olga@example.net", "full"),
    ]


# Bytes that come from anybody.

SAMPLES = [path.read_bytes() for path in sorted(FOLDER.glob("*.eml"))]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A sample with pieces cut out, doubled, or put in from elsewhere."""
    raw = draw(st.sampled_from(SAMPLES))
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(raw)))
        end = draw(st.integers(start, min(len(raw), start + 300)))
        piece = draw(st.one_of(st.binary(max_size=60), st.just(raw[start:end] * 2)))
        raw = raw[:start] + piece + raw[end:]
    return raw


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(st.binary(max_size=2000), damaged()))
@example(b"")
@example(b"\n")
@example(b"Content-Type: multipart/report; boundary=\xff\n\n--\xff\n")
@example(b"Content-Type: text/plain; charset=rot13\n\nUser unknown")
@example(b"Content-Type: message/delivery-status\n\nFinal-Recipient: rfc822; a@b\nAction: failed")
@example(b"Subject: =?utf-9?B?////?=\nContent-Transfer-Encoding: base64\n\n=====")
def test_nothing_is_raised(raw: bytes) -> None:
    returned = read(raw)
    assert isinstance(returned, Returned)
    for report in returned.reports:
        assert len(report.text) <= 2000
        assert len(report.recipient) <= 320


NESTED = b"".join(
    b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(20_000)
)


@pytest.mark.parametrize(
    "raw",
    [
        NESTED,
        b"Content-Type: message/rfc822\n\n" * 30_000,
        b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\n" * 200_000,
        b"Subject: " + b"=?utf-8?q?a?= " * 80_000 + b"\n\n",
        b"To: " + b"a@b, " * 200_000 + b"\n\n",
        b"From: x\n\n" + b"<" * LARGEST,
        b"Content-Type: text/html\n\n" + b"<style " * 150_000,
        b"From: x\n\n" + b"550 5.1.1 user " * 70_000,
        b"X: y\n" * 200_000,
        b"\r" * LARGEST * 3,
    ],
    ids=lambda raw: raw[:30].decode(),
)
def test_large_and_deep_messages_end_soon(raw: bytes) -> None:
    """By the processor time of this thread: the machine may be busy."""
    started = time.thread_time()
    read(raw)
    assert time.thread_time() - started < 20


def test_many_parts_are_read_up_to_a_limit() -> None:
    raw = SAMPLES[0] + b"Content-Type: multipart/x\n" * MOST_PARTS
    assert read(raw).reports == () or read(raw).kind != "bounce"


# The test messages of flufl.bounce are in its source distribution alone, not in what is installed.


def flufl_tests() -> Path | None:
    """The folder of its tests, where they are installed or unpacked (FLUFL_BOUNCE_TESTS)."""
    named = os.environ.get("FLUFL_BOUNCE_TESTS")
    spec = importlib.util.find_spec("flufl.bounce")
    installed = Path(spec.origin).parent / "tests" if spec and spec.origin else Path()
    for folder in (Path(named) if named else installed, BASE_DIR / ".local" / "flufl_bounce_tests"):
        if (folder / "test_detectors.py").exists():
            return folder
    return None


def test_the_messages_of_flufl_bounce() -> None:
    folder = flufl_tests()
    if folder is None:
        pytest.skip("the tests of flufl.bounce are not here: scripts/flufl_samples.sh fetches them")
    tree = ast.parse((folder / "test_detectors.py").read_text())
    table = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "DETECTORS"
    )
    wanted: dict[str, tuple[set[str], bool]] = {}
    for _detector, name, addresses, temporary in table:
        wanted.setdefault(name, (set(), temporary))[0].update(one.decode() for one in addresses)
    right = [name for name, one in wanted.items() if is_right(folder / "data" / name, *one)]
    assert len(wanted) > 100
    assert len(right) >= 0.95 * len(wanted), sorted(wanted.keys() - set(right))
    for path in (folder / "data").glob("*.txt"):
        read(path.read_bytes())


def is_right(path: Path, recipients: set[str], temporary: bool) -> bool:
    returned = read(path.read_bytes())
    found = {one.recipient for one in returned.reports if one.kind in ("bounce", "delayed")}
    kind = "delayed" if temporary else "bounce"
    return found == recipients and (not recipients or returned.kind == kind)
