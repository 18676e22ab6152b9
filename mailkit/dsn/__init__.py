"""What comes back by mail: delivery reports, complaints, automatic answers.

`read` takes the bytes of a message and never raises, whatever they are.
"""

from mailkit.dsn.reading import read
from mailkit.dsn.results import Kind, Report, Returned

__all__ = ["Kind", "Report", "Returned", "read"]
