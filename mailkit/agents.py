"""The kind of device that a User-Agent speaks of."""

from __future__ import annotations

import re
from functools import lru_cache

from mailkit.machines import is_image_proxy

DESKTOP, PHONE, TABLET = "desktop", "phone", "tablet"
# In this order: a tablet with Android says Android without Mobile, an iPad of old said Mobile.
# https://developer.mozilla.org/docs/Web/HTTP/Guides/Browser_detection_using_the_user_agent
_DEVICES = (
    (TABLET, re.compile(r"iPad|Tablet|Kindle|Silk/|PlayBook|Android(?!.*Mobile)", re.IGNORECASE)),
    (PHONE, re.compile(r"iPhone|iPod|Mobile|Windows Phone|BlackBerry|Opera Mini", re.IGNORECASE)),
    (DESKTOP, re.compile(r"Windows NT|Macintosh|X11|CrOS|Linux", re.IGNORECASE)),
)


@lru_cache(maxsize=10_000)
def device_of(agent: str) -> str:
    """`desktop`, `phone` or `tablet`; empty where the agent does not tell, as proxies' do not."""
    if is_image_proxy(agent):
        return ""
    return next((device for device, words in _DEVICES if words.search(agent)), "")
