"""What never leaves a unit in a report, said once: for the check-up, the diagnostics and `kerbside settings show`.

Passwords and keys are kept in files of their own and settings name only those; what is left are members of such names,
and what people write into URLs.

>>> redact({"camera": {"source": "rtsp://me:hunter2@10.0.0.7/live?key=1"}, "token": "abc"})
{'camera': {'source': 'rtsp://…@10.0.0.7/live?…'}, 'token': '…'}
>>> redact_text("camera rtsp://me:hunter2@10.0.0.7/live does not answer")
'camera rtsp://…@10.0.0.7/live does not answer'
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

HIDDEN: Final = "…"
SECRET_KEYS: Final = frozenset(
    {"access_code", "access_codes", "key", "keys", "otp", "password", "phone", "pin", "secret", "seed", "token"}
)
"""Members of these names are secrets, wherever they stand."""
URL_KEYS: Final = frozenset({"source", "url"})
"""Members that are one URL, in which people write user names, passwords and keys."""

_QUERY: Final = re.compile(r"(?<=[?#]).+", re.DOTALL)
_URL_IN_TEXT: Final = re.compile(r"(?<=://)(\S*@)?([^\s?#]*)(?:([?#])\S*?(?=[,.:;]?(?:\s|$)))?")


def redact(value: Any, *urls: str | None) -> Any:
    """JSON values without their secrets; `urls` as in `redact_text`."""
    if isinstance(value, Mapping):
        return {key: _redact_member(key, each, *urls) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [redact(each, *urls) for each in value]
    return redact_text(value, *urls) if isinstance(value, str) else value


def redact_url(url: str) -> str:
    """A URL without user, password, query and fragment, in whatever way they were written into it."""
    scheme, slashes, rest = url.partition("://")
    if not slashes:
        return url
    user, _, place = rest.rpartition("@")
    hidden = HIDDEN + "@" if user else ""
    return f"{scheme}://{hidden}{_QUERY.sub(HIDDEN, place)}"


def redact_text(text: str, *urls: str | None) -> str:
    """A sentence without the secrets of its URLs; the known `urls` are found also where they hold spaces."""
    for url in filter(None, urls):
        text = text.replace(url, redact_url(url))
    return _URL_IN_TEXT.sub(_hide, text)


def _hide(found: re.Match[str]) -> str:
    user, place, mark = found.groups()
    return "".join((HIDDEN + "@" if user else "", place, mark + HIDDEN if mark else ""))


def _redact_member(key: str, value: Any, *urls: str | None) -> Any:
    if key in SECRET_KEYS:
        return value if value is None else HIDDEN
    return redact_url(value) if key in URL_KEYS and isinstance(value, str) else redact(value, *urls)
