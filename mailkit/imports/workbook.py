"""Rows of a workbook (XLSX, XLS, ODS), parsed by a child process that may die without harm."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

from .lines import Batch, PlainRecords, Record
from .table import FileFault
from .xlsx_child import CELL, ROW, TOO_LONG

_CHILD = Path(__file__).with_name("xlsx_child.py")
# Out of memory, processor time or wall-clock time, in the order of `limit_resources`; the
# kernel's out-of-memory killer and a hard CPU limit use SIGKILL.
_OVER_LIMITS = (-signal.SIGABRT, -signal.SIGXCPU, -signal.SIGALRM, -signal.SIGKILL)


def sheet_batches(path: Path) -> Generator[Batch | FileFault, None, None]:
    """Every row with text, `line` being the sheet row; a `FileFault` can only come last.

    Takes a subprocess and not multiprocessing, whose children Celery's daemonic workers
    may not have. Closing the generator ends the child.
    """
    # -P: the script's folder must not shadow modules of the standard library.
    command = [sys.executable, "-P", str(_CHILD), str(path.resolve())]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                if not line.endswith(b"\n"):
                    break
                message = json.loads(line)
                if isinstance(message, list):
                    numbers, size = message
                    data = child.stdout.read(size)
                    if len(data) < size:
                        break
                    yield _batch(numbers, data.decode())
                elif "fault" in message:
                    yield FileFault(message["fault"], None, message["detail"])
                    return
                else:
                    return
            status = child.wait()
            code = "too_large_xlsx" if status in _OVER_LIMITS else "damaged_xlsx"
            yield FileFault(code, None, f"parser exit {status}")
        finally:
            child.kill()


def _batch(numbers: list[int], text: str) -> Batch:
    rows = text.split(ROW)
    if TOO_LONG not in text and numbers[-1] - numbers[0] == len(rows) - 1:
        return PlainRecords(numbers[0], [row.split(CELL) for row in rows])
    return [
        Record(number, [], "line_too_long") if row == TOO_LONG else Record(number, row.split(CELL))
        for number, row in zip(numbers, rows, strict=True)
    ]
