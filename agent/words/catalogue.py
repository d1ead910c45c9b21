"""The languages that the unit speaks: English is in the code, every other one has a compiled catalogue.

`./scripts/words` makes the catalogues from the code; here the standard library reads them.
"""

from __future__ import annotations

import logging
from functools import cache
from gettext import GNUTranslations, NullTranslations
from pathlib import Path
from typing import Final

ENGLISH: Final = "en"
DEFAULT_LANGUAGE: Final = ENGLISH
"""What the driver reads where nobody has chosen a language."""

_FOLDER: Final = Path(__file__).with_name("locale")
_FILE: Final = "LC_MESSAGES/words.mo"

LANGUAGES: Final = (ENGLISH, *sorted(path.parents[1].name for path in _FOLDER.glob(f"*/{_FILE}")))

_log = logging.getLogger(__name__)


@cache
def translations(language: str) -> NullTranslations:
    """The catalogue of a language; one that is not there or cannot be read leaves it at English and is logged."""
    if language == ENGLISH:
        return NullTranslations()
    try:
        if language not in LANGUAGES:
            raise LookupError(f"expected one of {', '.join(LANGUAGES)}")  # noqa: TRY301
        with (_FOLDER / language / _FILE).open("rb") as file:
            return GNUTranslations(file)
    except Exception:  # noqa: BLE001 - whatever a damaged file makes of it
        _log.exception("language %s is not to be had, English is shown", language)
        return NullTranslations()
