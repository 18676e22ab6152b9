"""Exit code 0 where the web server in this container answers /healthz."""

import http.client
import os
import sys
from urllib.parse import urlsplit

# By the site's own name: another one is refused when ALLOWED_HOSTS does not have it.
site = urlsplit(os.environ.get("BASE_URL") or "http://127.0.0.1")
headers = {"Host": site.netloc, "X-Forwarded-Proto": site.scheme}
connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=4)
connection.request("GET", "/healthz", headers=headers)
sys.exit(0 if connection.getresponse().status == 200 else 1)
