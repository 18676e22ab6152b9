"""What the benches share: numbers from the environment, verdicts, ways out."""

from __future__ import annotations

import pytest

from benchmarks import support
from benchmarks.baselines import _RATES
from benchmarks.support import BenchError

OPENSSL_3_0 = """\
                  sign    verify    sign/s verify/s
rsa 2048 bits 0.000346s 0.000010s   2890.6  96634.3
"""
OPENSSL_3_2 = """\
                   sign    verify    encrypt   decrypt   sign/s verify/s  encr./s  decr./s
rsa  2048 bits 0.000338s 0.000010s 0.000011s 0.000354s   2956.1 101832.5  93211.9   2828.2
"""


@pytest.mark.parametrize(("said", "rate"), [(OPENSSL_3_0, "2890.6"), (OPENSSL_3_2, "2956.1")])
def test_signatures_are_read_from_both_forms_of_openssl_speed(said, rate) -> None:
    found = _RATES.search(said)
    assert found is not None
    assert found[1] == rate


@pytest.mark.parametrize("value", ["0", "-1", "many", "1e6"])
def test_a_number_that_makes_no_sense_is_refused(monkeypatch, value) -> None:
    monkeypatch.setenv("N", value)
    with pytest.raises(BenchError, match="N must be"):
        support.number("N", 5)


def test_a_number_left_out_is_the_default(monkeypatch) -> None:
    monkeypatch.delenv("N", raising=False)
    assert support.number("N", 5) == 5


def test_the_verdict_is_zero_only_where_every_bar_holds(capsys) -> None:
    assert support.verdict("bench-x: a 1", {"fast": True, "small": True}) == 0
    assert support.verdict("bench-x: a 1", {"fast": True, "small": False}) == 1
    shown = capsys.readouterr()
    assert shown.out == "bench-x: a 1\n" * 2
    assert "not reached: small" in shown.err


def test_what_cannot_be_measured_is_a_sentence_and_a_failure(capsys) -> None:
    def fails() -> int:
        raise BenchError("too little disk")

    assert support.run(fails) == 1
    assert "too little disk" in capsys.readouterr().err


def test_ctrl_c_has_its_own_code() -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    assert support.run(interrupted) == 130


def test_a_ratio_to_nothing_is_no_success() -> None:
    assert support.ratio(100, 0) == 0
