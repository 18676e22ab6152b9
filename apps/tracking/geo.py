"""The country of an address, from a MaxMind database where there is one."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any

import maxminddb
from django.conf import settings

logger = logging.getLogger(__name__)


def country_of(address: str) -> str:
    """Its ISO 3166 code; empty where it is not known, or GEOIP_DATABASE names no database."""
    reader = _reader(settings.GEOIP_DATABASE)
    if reader is None or not address:
        return ""
    try:
        found: Any = reader.get(address)
    except (ValueError, maxminddb.InvalidDatabaseError):
        return ""
    return str(((found or {}).get("country") or {}).get("iso_code") or "")[:2]


@lru_cache(maxsize=1)
def _reader(path: str) -> maxminddb.Reader | None:
    if not path:
        return None
    try:
        return maxminddb.open_database(path)
    except (OSError, maxminddb.InvalidDatabaseError) as error:
        logger.error("GEOIP_DATABASE %s cannot be read, so no event has a country: %s", path, error)
        return None
