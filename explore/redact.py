"""Removal of passwords from URLs before they are printed or stored."""

from __future__ import annotations

import re

USER = re.compile(r"(?P<scheme>//[^\s:/@?#]*):\S*@")
OPTION = re.compile(r"(?P<key>[?&;](?:password|passwd|pwd|token|sslpassword|secret)=)[^\s&;'\"]*", re.IGNORECASE)


def redacted(text: str) -> str:
    """Return `text` with `***` in place of each password in a URL: `postgresql://me:***@host/db`."""
    return OPTION.sub(r"\g<key>***", USER.sub(r"\g<scheme>:***@", text))
