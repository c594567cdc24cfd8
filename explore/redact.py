"""URLs without their passwords, for everything that is printed or written down."""

from __future__ import annotations

import re

USER = re.compile(r"(?P<scheme>//[^\s:/@?#]*):\S*@")
OPTION = re.compile(r"(?P<key>[?&;](?:password|passwd|pwd|token|sslpassword|secret)=)[^\s&;'\"]*", re.IGNORECASE)


def redacted(text: str) -> str:
    """`text` with `***` for each password of a URL in it: `postgresql://me:***@host/db`."""
    return OPTION.sub(r"\g<key>***", USER.sub(r"\g<scheme>:***@", text))
