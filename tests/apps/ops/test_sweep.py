from __future__ import annotations

import pytest

from apps.ops import tasks


def test_one_that_fails_keeps_nobody_from_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def fails() -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(tasks, "SWEEPS", (fails, lambda: seen.append("next")))
    with pytest.raises(ExceptionGroup) as raised:
        tasks.sweep_due_work()
    assert seen == ["next"]
    assert [str(error) for error in raised.value.exceptions] == ["the disk is full"]
