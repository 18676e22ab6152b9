"""Reading contact files: `sniff` one, `read_rows` of it, map them to contacts with `rows`.

A new format adds a kind to `Source`, a way for `sniff` to know it, and an iterator of
`Record` for `read_rows`.
"""

from .table import FileFault, Row, Source

__all__ = ["FileFault", "Row", "Source"]
