"""Whose secrets are sealed under one key, and go when that key is wiped: each block, and what the unit itself has.

A name says first what it is of, so that no id of a block can be taken for another scope.
"""

from __future__ import annotations

from typing import Final

ROSTER: Final = "roster"
"""The key of the roster's HMACs, and its drivers' names."""
SETTINGS: Final = "settings"
"""Texts that the cloud has set: an address of a camera may hold its password."""
MESSAGES: Final = "messages"
"""What dispatch and recipients wrote."""
BLOCK: Final = "block/"


def scope_of_block(block_id: str) -> str:
    """The scope of all that a block tells about people and their doors; its key is wiped when the block ends."""
    return BLOCK + block_id
