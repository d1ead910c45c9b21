"""What the serial protocols of scanners have in common: a framer takes bytes and gives codes, and says what to send.

A framer is pure: it opens nothing, reads no clock and never raises, whatever it is fed; what it holds is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol

from drivers.scanner.code import NOISE, Code

Tone = Literal["good", "repeat", "bad", "attention"]
"""The answer to a scan, as the driver hears it."""

MAX_MESSAGE_BYTES: Final = 8192
"""More than any code holds (7,089 digits in a QR code), in one line or in several packets."""


@dataclass(slots=True)
class Counters:
    """What a framer has seen since it was made."""

    codes: int = 0
    too_long: int = 0
    unreadable: int = 0
    """Lines that are no text, messages without any."""
    broken: int = 0
    """Bursts of bytes that are no packet."""
    unterminated: int = 0
    """Codes of which the end never came."""
    resent: int = 0
    """Packets that the scanner sent again although they had arrived."""
    unanswered: int = 0
    """Feedback that the scanner did not take."""

    @property
    def dropped(self) -> int:
        """Everything that did not become a code."""
        return self.too_long + self.unreadable + self.broken + self.unterminated


class Framer(Protocol):
    """One protocol of scanners. Times are of one monotonic clock, in nanoseconds."""

    counters: Counters
    trouble: str | None
    """What is wrong with what arrives, and what to do, as the end of a sentence about the scanner; ``None`` as soon as
    a code or a packet is understood."""

    @property
    def request_to_send(self) -> bool:
        """How the scanner wants the line RTS to rest."""
        ...

    @property
    def due_ns(self) -> int | None:
        """When `wake` wants to be called."""
        ...

    def feed(self, data: bytes, now_ns: int) -> list[Code]:
        """Codes that `data` completes, in order."""
        ...

    def wake(self, now_ns: int) -> list[Code]:
        """What is due by now; codes that are complete because nothing more came."""
        ...

    def signal(self, tone: Tone, now_ns: int) -> None:
        """Let the scanner give `tone`, if its protocol can."""
        ...

    def to_send(self) -> bytes:
        """The bytes that are to be written to the scanner now, in this order; each is given once."""
        ...

    def restart(self) -> None:
        """The scanner was plugged in anew: forget what was under way."""
        ...


def text_of(data: bytes) -> str | None:
    """The text that a scanner sent; ``None`` for what can only be noise."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return None if NOISE.search(text) else text
