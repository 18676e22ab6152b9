"""The WSGI application that gunicorn serves."""

import os

from django.core.wsgi import get_wsgi_application
from django.utils.module_loading import import_string

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "core.settings")
_django = get_wsgi_application()
# Named by a string, as the pages in core.urls are.
application = import_string("apps.tracking.beacons.Beacons")(_django)
