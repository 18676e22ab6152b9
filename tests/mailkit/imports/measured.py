"""Reading a file to its end in a process of its own, whose memory is looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
PARENT_MB = 60
CHILD_MB = 512

_MEASURE = """
import json, resource, sys
from pathlib import Path
from mailkit.imports.readers import read_blocks
from mailkit.imports.sniff import sniff
from mailkit.imports.table import FileFault, Source
path = Path(sys.argv[1])
def peak():  # in KiB; ru_maxrss would begin with that of the process that has forked this one
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])
before = peak()
found, rows, faults = sniff(path, name="x.csv"), 0, set()
if isinstance(found, Source):
    for block in read_blocks(path, found):
        if isinstance(block, FileFault):
            found = block
        else:
            rows += len(block)
            faults.update(row.fault for row in block if row.fault)
mine, child = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
code = found.code if isinstance(found, FileFault) else found.kind
cpu = mine.ru_utime + mine.ru_stime + child.ru_utime + child.ru_stime
grown = (peak() - before) // 1024
print(json.dumps([code, rows, sorted(faults), grown, child.ru_maxrss // 1024, cpu]))
"""


def ending_of(path: Path) -> tuple[str, int, list[str]]:
    """The fault's code or else the kind, the rows and their faults; memory is looked at here."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=600,  # only against hanging: the machine may be busy
    )
    code, rows, faults, grown, child, cpu = json.loads(done.stdout)
    # To be seen with `pytest -rP`.
    print(f"{code}: {rows} rows, {grown} MB more, {child} MB in the child, {cpu:.1f} s of CPU")
    assert grown < PARENT_MB
    assert child < CHILD_MB
    return code, rows, faults
