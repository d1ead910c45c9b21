"""What the protocols of scanners have in common: a framer takes bytes and gives codes, and says what to send.

A framer is pure: it opens nothing, reads no clock and never raises, whatever it is fed; what it holds is bounded. A
code that the scanner has read and that did not arrive is counted as lost, so that the driver can be told to scan again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol

from drivers.scanner.code import Code

Tone = Literal["good", "repeat", "bad", "attention"]
"""The answer to a scan, as the driver hears it."""

MAX_MESSAGE_BYTES: Final = 8192
"""More than any code holds (7,089 digits in a QR code), in one line or in several packets."""


@dataclass(slots=True)
class Counters:
    """What a framer has seen since it was made."""

    codes: int = 0
    guessed: int = 0
    """Codes among them that were not UTF-8, and were read as the scanner's older default."""
    too_long: int = 0
    unreadable: int = 0
    """Lines that are no text, messages without any, reports of no known form."""
    broken: int = 0
    """Bursts of bytes that are no packet."""
    unterminated: int = 0
    """Codes of which the end never came."""
    overrun: int = 0
    """How often the kernel has lost strokes because nobody read them in time."""
    damaged: int = 0
    """Codes that are none because the port has counted bytes among them that arrived damaged or were lost."""
    resent: int = 0
    """Packets that the scanner sent again although they had arrived."""
    unanswered: int = 0
    """Feedback that the scanner did not take."""
    lost: int = 0
    """Codes that the scanner has read and that did not arrive."""
    ends_with_loss: bool = False
    """Whether the last of all that came was lost, and not a code."""

    @property
    def dropped(self) -> int:
        """Everything that did not become a code."""
        return self.too_long + self.unreadable + self.broken + self.unterminated + self.overrun + self.damaged

    def took(self, code: Code) -> Code:
        """Count a code."""
        self.codes += 1
        self.guessed += code.encoding != "utf-8"
        self.ends_with_loss = False
        return code

    def lose(self) -> None:
        """Count a code that was read and did not arrive."""
        self.lost += 1
        self.ends_with_loss = True


class Framer(Protocol):
    """One serial protocol of scanners. Times are of one monotonic clock, in nanoseconds."""

    counters: Counters
    checked: bool
    """Whether the protocol finds out by itself what arrived damaged."""
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
