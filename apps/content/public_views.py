"""Pictures for those who read letters. The name of the file is all the authority it needs."""

from __future__ import annotations

from django.core.files.storage import default_storage
from django.http import FileResponse, Http404, HttpRequest
from django.views.decorators.http import require_safe

from apps.content.services.pictures import FOLDER

TYPES = {"png": "image/png", "jpg": "image/jpeg", "gif": "image/gif"}


@require_safe
def picture(request: HttpRequest, key: str, format: str) -> FileResponse:
    """The file, which never changes. Neither a session nor the database is asked."""
    # The answer is the same for everybody: without "Vary: Cookie" shared caches keep one copy.
    request.session.accessed = False
    try:
        file = default_storage.open(f"{FOLDER}/{key}.{format}")
    except FileNotFoundError as error:
        raise Http404 from error
    response = FileResponse(file, content_type=TYPES[format])
    response["Cache-Control"] = "public, max-age=31536000, immutable"
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    # Letters are read on other sites: webmail.
    response["Cross-Origin-Resource-Policy"] = "cross-origin"
    return response
