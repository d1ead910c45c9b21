"""From a picture or a scanned text to the parcel that it names.

`reader` finds symbols in pictures, `identity` says which parcel a text names, `choose` which symbols of a picture are
parcels. What a picture cannot give is a `LabelError`; a text is never an error.
"""

from __future__ import annotations


class LabelError(Exception):
    """A picture cannot be read: says which one, what was found and what to do."""
