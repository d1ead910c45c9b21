"""What a Honeywell scanner understands on its serial line; it sends its codes as lines.

SYN BEL CR lets it beep. One that is set to Host ACK gives no sign of its own and reads no further code until the host
has answered with ESC sequences, or ten seconds have passed: there the only beep is that of the verdict, or of a code
that did not arrive. Nothing here
changes a setting of the scanner.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from drivers.scanner.framing import Tone

_BEEP: Final = b"\x16\x07\r"

BEEPS: Final[Mapping[Tone, bytes]] = {"good": _BEEP, "repeat": 2 * _BEEP, "bad": 3 * _BEEP, "attention": 4 * _BEEP}

HOST_ACK: Final[Mapping[Tone, bytes]] = {
    "good": b"\x1b6,\x1b1,",  # a high beep and the green lamp
    "repeat": 2 * b"\x1b6,",
    "bad": 3 * b"\x1b4,",  # low beeps
    "attention": 2 * b"\x1b4,\x1b6,",
}
"""The answers of Host ACK mode, with as many beeps."""
