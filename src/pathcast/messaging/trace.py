"""W3C trace context: one trace per frame, carried in the records' headers.

Format: https://www.w3.org/TR/trace-context/#traceparent-header, version 00.
"""

from __future__ import annotations

import re
import secrets

from pathcast.core.errors import InvalidInputError

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def new_traceparent() -> str:
    """A new sampled trace with random ids.

    >>> check_traceparent(new_traceparent())[:3]
    '00-'
    """
    return f"00-{_random_id(16)}-{_random_id(8)}-01"


def check_traceparent(text: str) -> str:
    """Return `text` if it is a traceparent of version 00 whose ids are not all zero."""
    if not _TRACEPARENT.fullmatch(text):
        raise InvalidInputError(f"traceparent: expected 00-<32 hex>-<16 hex>-<2 hex>, got {text!r:.80}")
    return text


def _random_id(n_bytes: int) -> str:
    while True:
        identifier = secrets.token_hex(n_bytes)
        if identifier.strip("0"):
            return identifier
