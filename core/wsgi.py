"""The WSGI application that gunicorn serves."""

import os

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver
from django.utils.module_loading import import_string

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "core.settings")
_django = get_wsgi_application()
# Imports every page now, rather than while the first visitor waits.
assert get_resolver().url_patterns
# Named by a string, as the pages in core.urls are.
application = import_string("apps.tracking.beacons.Beacons")(_django)
