"""Zebra's Simple Serial Interface: packets with a checksum, each acknowledged, in both directions.

`SsiLine` is the protocol between two ends, after the "Simple Serial Interface Programmer's Guide" (72E-40451): it
finds packets between any other bytes, acknowledges each and gives it once, asks for what arrived damaged, and sends
one message at a time, again while it is not answered. `SsiFramer` is the host's end: it turns decode data into codes
and tones into beeps and the lamp.

Nothing permanent is ever set in a scanner, and nothing is sent before it has sent something. A host that does not
shake hands by RTS and CTS may lose its first byte to a scanner that sleeps: here messages follow those of the scanner,
which is awake then, and what is not answered is sent again.

>>> decode = Packet(Opcode.DECODE_DATA, bytes([0x03]) + b"TBA1", source=Source.DECODER)
>>> decode.encode().hex(" ").upper()
'09 F3 00 00 03 54 42 41 31 FD F9'
>>> framer = SsiFramer()
>>> framer.feed(decode.encode(), now_ns=0)
[Code(text='TBA1', identifier=']C0', symbology='Code 128', encoding='utf-8')]
>>> framer.to_send().hex(" ").upper()
'04 D0 04 00 FF 28'
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum, IntFlag
from typing import Final

from drivers.scanner.code import FRAMING, Code, read
from drivers.scanner.framing import MAX_MESSAGE_BYTES, Counters, Tone

HEADER_BYTES: Final = 4
CHECKSUM_BYTES: Final = 2
MAX_DATA_BYTES: Final = 255 - HEADER_BYTES

RESPONSE_NS: Final = 1_000_000_000
"""How long an answer may take. A scanner waits 2 s for ours by default; feedback that comes later is of no use."""
RESENDS: Final = 2
SILENCE_NS: Final = 250_000_000
"""A packet that has not gone on for this long is broken: its end will not come, and the line is free."""
RESENT_WITHIN_NS: Final = 30_000_000_000
"""The last resend of a message: two times the longest response time-out that can be set (9.9 s), and some."""
FOLLOWS_WITHIN_NS: Final = 900_000_000
"""The next packet of a message comes at once: it takes 0.3 s at 9600 baud, and noise before it another 0.5. One that
comes later and is no resend begins another message."""
PARTS_WITHIN_NS: Final = 5_000_000_000
"""The resends of the next packet come within this, at the default time-out."""
GIVEN_UP_NS: Final = 3_000_000_000
"""What arrived damaged and was asked for has come again within this, at the default time-out, or comes no more."""
MIN_MESSAGE_BYTES: Final = HEADER_BYTES + CHECKSUM_BYTES + 1
"""Of a packet that holds a code; less is noise."""
PATIENCE_NS: Final = 3_000_000_000
"""Feedback that has waited this long would be taken for the answer to another scan."""
MAX_WAITING: Final = 16
BURSTS_IN_A_ROW: Final = 3
"""So many bursts of bytes without a packet mean a wrong setting; the sender has given up its message by then, too."""
GARBAGE_BYTES: Final = 256
"""What is kept of bytes that are no packet, to tell what they are."""
MIN_TEXT_BYTES: Final = 4
LAMP_NS: Final = 500_000_000


class Opcode(IntEnum):
    """Messages, by the names of the guide."""

    MULTIPACKET_SEGMENT = 0x73
    MULTIPACKET_ACK = 0x74
    REPLY_REVISION = 0xA4
    PARAM_SEND = 0xC6
    CMD_ACK = 0xD0
    CMD_NAK = 0xD1
    CAPABILITIES_REPLY = 0xD4
    BEEP = 0xE6
    LED_ON = 0xE7
    LED_OFF = 0xE8
    DECODE_DATA = 0xF3
    EVENT = 0xF6


class Source(IntEnum):
    """Who sent a packet."""

    DECODER = 0
    SEGMENT = 2
    """What scanners write into the first segment of a long message."""
    HOST = 4


class Status(IntFlag):
    """Bits of the status byte; scanners set others, too, which say nothing."""

    RETRANSMIT = 1
    CONTINUATION = 2
    """More packets of this message follow."""
    PERMANENT = 8
    """Of PARAM_SEND: written to memory that wears out. Never set here."""


class Cause(IntEnum):
    """Why a packet was refused."""

    RESEND = 1
    BAD_CONTEXT = 2
    DENIED = 0x10


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet, without its length and checksum."""

    opcode: int
    data: bytes = b""
    status: int = 0
    source: int = Source.HOST

    def encode(self) -> bytes:
        """As it goes over the line.

        :raises ValueError: more data than fits into one packet
        """
        if len(self.data) > MAX_DATA_BYTES:
            raise ValueError(f"a packet holds at most {MAX_DATA_BYTES} bytes, got {len(self.data)}")
        body = bytes([HEADER_BYTES + len(self.data), self.opcode, self.source, self.status]) + self.data
        return body + checksum(body)

    @property
    def resent(self) -> bool:
        """Whether its sender sends it again."""
        return bool(self.status & Status.RETRANSMIT)

    @property
    def continues(self) -> bool:
        """Whether more packets of its message follow."""
        return bool(self.status & Status.CONTINUATION)


def checksum(body: bytes | bytearray) -> bytes:
    """Two's complement of the sum of all bytes, 16 bits, the high byte first."""
    return (-sum(body) & 0xFFFF).to_bytes(2)


def holds_packet(data: bytes) -> bool:
    """Whether a scanner's packet is somewhere in `data`."""
    return any(packet.source == Source.DECODER for packet in _find(bytearray(data)))


def is_plain_text(data: bytes | bytearray) -> bool:
    """Whether this is what a scanner sends that puts its codes into no packets."""
    return len(data.strip()) >= MIN_TEXT_BYTES and read(data) is not None


def _find(buffer: bytearray, skipped: bytearray | None = None) -> Iterator[Packet]:
    """Take the packets out of the front of `buffer` and leave what may become one; other bytes go to `skipped`."""
    start = 0
    while len(buffer) - start > 2:
        length = buffer[start]
        end = start + length + CHECKSUM_BYTES
        if length < HEADER_BYTES or not _may_come_from(buffer[start + 2], buffer[start + 1]):
            pass
        elif end > len(buffer):
            break
        elif checksum(buffer[start : end - CHECKSUM_BYTES]) == buffer[end - CHECKSUM_BYTES : end]:
            body = bytes(buffer[start : end - CHECKSUM_BYTES])
            if skipped is not None:
                skipped += buffer[:start]
            del buffer[:end]
            start = 0
            yield Packet(body[1], body[HEADER_BYTES:], body[3], body[2])
            continue
        start += 1
    if skipped is not None:
        skipped += buffer[:start]
    del buffer[:start]


def _may_come_from(source: int, opcode: int) -> bool:
    return source in (Source.DECODER, Source.HOST) or (
        source == Source.SEGMENT and opcode == Opcode.MULTIPACKET_SEGMENT
    )


@dataclass(slots=True)
class _Message:
    packet: Packet
    until_ns: int | None
    sent: int = 0


class SsiLine:
    """One end of the line; `source` is who we are. Pure: bytes and times in, packets and bytes out.

    Handshaking can be turned off in a scanner. Unless it `insists`, this end gives up waiting for answers, and resends
    with it, when a message got none at all, until there is one again.
    """

    def __init__(self, source: Source, response_ns: int = RESPONSE_NS, *, insists: bool = False) -> None:
        self.resent = 0
        """Packets that came again although they had arrived."""
        self.refused = 0
        """Messages of ours that the other end understood and would not do."""
        self.unanswered = 0
        """Messages of ours that were given up."""
        self.broken = 0
        """Bursts of bytes that were no packet."""
        self.spoiled = 0
        """Those among them that may have held a code."""
        self._source = source
        self._response_ns = response_ns
        self._insists = insists
        self._answering = True
        self.restart()

    def restart(self) -> None:
        """Forget what was under way."""
        self.bursts = 0
        """Bursts of bytes since the last packet."""
        self.garbage = b""
        """The bytes of the last burst, not all of a long one."""
        self._buffer = bytearray()
        self._skipped = bytearray()
        self._last_byte_ns = 0
        self._heard = False
        self.answered_ns: int | None = None
        """When the other end last answered a message of ours, whatever it said."""
        self._taken: Packet | None = None
        self._taken_ns = 0
        self._acknowledging = False
        """What was taken last is not acknowledged yet: its sender cannot have begun another message."""
        self._outbox = bytearray()
        self._waiting: deque[_Message] = deque()
        self._under_way: _Message | None = None
        self._resend_ns = 0
        self._answering = True

    @property
    def idle(self) -> bool:
        """Whether nothing of ours is under way or waits."""
        return self._under_way is None and not self._waiting

    @property
    def due_ns(self) -> int | None:
        """When `wake` is to be called."""
        due = [self._resend_ns] if self._under_way else []
        if self._buffer or self._skipped:
            due.append(self._last_byte_ns + SILENCE_NS)
        return min(due, default=None)

    def feed(self, data: bytes, now_ns: int) -> list[Packet]:
        """The messages of the other end that `data` completes, each once."""
        self._last_byte_ns = now_ns
        self._buffer += data
        packets = self._packets(now_ns)
        self._send_next(now_ns)
        return packets

    def wake(self, now_ns: int) -> list[Packet]:
        """What the passing of time brings: packets behind a broken one, a resend, a request for one."""
        packets = []
        if (self._buffer or self._skipped) and now_ns >= self._last_byte_ns + SILENCE_NS:
            while self._buffer:
                self._skipped.append(self._buffer.pop(0))
                packets += self._packets(now_ns)
            if self._skipped:
                self._burst()
        if self._under_way and now_ns >= self._resend_ns:
            if self._under_way.sent <= RESENDS:
                self._resend(self._under_way, now_ns)
            else:
                self._answering = self._insists
                self.unanswered += 1
                self._under_way = None
        self._send_next(now_ns)
        return packets

    def send(self, packet: Packet, now_ns: int, patience_ns: int | None = None) -> None:
        """Send a message when those before it are through; it is given up when that takes longer than `patience_ns`,
        and when many wait already."""
        if len(self._waiting) >= MAX_WAITING:
            self.unanswered += 1
            return
        until_ns = None if patience_ns is None else now_ns + patience_ns
        self._waiting.append(_Message(replace(packet, source=self._source), until_ns))
        self._send_next(now_ns)

    def to_send(self) -> bytes:
        """The bytes to be written now."""
        outbox = bytes(self._outbox)
        self._outbox.clear()
        self._acknowledging = False
        return outbox

    def _packets(self, now_ns: int) -> list[Packet]:
        new = []
        for packet in _find(self._buffer, self._skipped):
            # What comes back as we sent it is an echo.
            if packet.source == self._source:
                continue
            self._heard = True
            if self._skipped:
                self._count_burst()
            self.bursts, self.garbage = 0, b""
            if packet.opcode in (Opcode.CMD_ACK, Opcode.MULTIPACKET_ACK):
                self._answering = True
                self._under_way = None
                self.answered_ns = now_ns
            elif packet.opcode == Opcode.CMD_NAK:
                self.answered_ns = now_ns
                self._hear_refusal(packet, now_ns)
            elif self._is_new(packet, now_ns):
                new.append(packet)
        # What cannot become a packet is kept only as far as it tells what it is.
        del self._skipped[GARBAGE_BYTES:]
        return new

    def _is_new(self, packet: Packet, now_ns: int) -> bool:
        bare = replace(packet, status=packet.status & ~Status.RETRANSMIT)
        if self._acknowledging and bare == self._taken:
            # Doubled on its way: its sender knows nothing of the second one, and must not hear two answers.
            self.resent += 1
            return False
        segment = packet.opcode == Opcode.MULTIPACKET_SEGMENT
        self._outbox += Packet(Opcode.MULTIPACKET_ACK if segment else Opcode.CMD_ACK, source=self._source).encode()
        self._acknowledging = True
        # A code that is scanned twice comes without the bit; a resend of what was lost is another than was taken last.
        if packet.resent and bare == self._taken and now_ns - self._taken_ns <= RESENT_WITHIN_NS:
            self.resent += 1
            return False
        self._taken, self._taken_ns = bare, now_ns
        return True

    def _hear_refusal(self, packet: Packet, now_ns: int) -> None:
        self._answering = True
        if self._under_way is None:
            return
        if packet.data[:1] != bytes([Cause.RESEND]):
            self.refused += 1
            self._under_way = None
        elif self._under_way.sent <= RESENDS:
            self._resend(self._under_way, now_ns)

    def _burst(self) -> None:
        self.bursts += 1
        self.garbage = bytes(self._skipped)
        self._count_burst()
        if self._heard and not is_plain_text(self.garbage):
            self._outbox += Packet(Opcode.CMD_NAK, bytes([Cause.RESEND]), source=self._source).encode()

    def _count_burst(self) -> None:
        self.broken += 1
        self.spoiled += len(self._skipped) >= MIN_MESSAGE_BYTES or is_plain_text(self._skipped)
        self._skipped.clear()

    def _resend(self, message: _Message, now_ns: int) -> None:
        status = message.packet.status | Status.RETRANSMIT
        self._transmit(message, replace(message.packet, status=status), now_ns)

    def _send_next(self, now_ns: int) -> None:
        # The line is used in one direction at a time: while a packet is coming in, ours waits.
        while self._waiting and self._under_way is None and not self._buffer:
            message = self._waiting.popleft()
            if message.until_ns is not None and now_ns >= message.until_ns:
                self.unanswered += 1
                continue
            self._under_way = message
            self._transmit(message, message.packet, now_ns)
            if not self._answering:
                self._under_way = None

    def _transmit(self, message: _Message, packet: Packet, now_ns: int) -> None:
        message.sent += 1
        self._resend_ns = now_ns + self._response_ns
        self._outbox += packet.encode()


SYMBOLOGIES: Final[dict[int, tuple[str | None, str | None]]] = {
    0x01: ("Code 39", "]A0"),
    0x02: ("Codabar", "]F0"),
    0x03: ("Code 128", "]C0"),
    0x04: ("Industrial 2 of 5", "]S0"),
    0x05: ("Industrial 2 of 5", "]R0"),
    0x06: ("ITF", "]I0"),
    0x07: ("Code 93", "]G0"),
    0x08: ("UPC-A", "]E0"),
    0x09: ("UPC-E", "]E0"),
    0x0A: ("EAN-8", "]E4"),
    0x0B: ("EAN-13", "]E0"),
    0x0C: ("Code 11", "]H0"),
    0x0D: ("Code 49", "]T0"),
    0x0E: ("MSI", "]M0"),
    0x0F: ("Code 128", "]C1"),
    0x10: ("UPC-E", "]E0"),
    0x11: ("PDF417", "]L0"),
    0x12: ("Code 16K", "]K0"),
    0x13: ("Code 39", "]A4"),
    0x15: ("Code 39", "]X0"),
    0x16: ("EAN-13", "]E0"),
    0x18: ("Codabar", "]F0"),
    0x19: ("Code 128", "]C0"),
    0x1A: ("PDF417", "]L3"),
    0x1B: ("Data Matrix", "]d1"),
    0x1C: ("QR Code", "]Q1"),
    0x20: ("Code 39", "]A0"),
    0x21: ("Code 128", "]C4"),
    0x25: ("MaxiCode", "]U0"),
    0x28: ("PDF417", "]L0"),
    0x29: ("PDF417", "]L3"),
    0x2C: ("QR Code", "]Q1"),
    0x2D: ("Aztec", "]z0"),
    0x2E: ("Aztec", "]zC"),
    0x30: ("DataBar", "]e0"),
    0x31: ("DataBar", "]e0"),
    0x32: ("DataBar", "]e0"),
    0x48: ("UPC-A", "]E3"),
    0x49: ("UPC-E", "]E3"),
    0x4A: ("EAN-8", "]E4"),
    0x4B: ("EAN-13", "]E3"),
    0x50: ("UPC-E", "]E3"),
    0x88: ("UPC-A", "]E3"),
    0x89: ("UPC-E", "]E3"),
    0x8A: ("EAN-8", "]E4"),
    0x8B: ("EAN-13", "]E3"),
    0x90: ("UPC-E", "]E3"),
    0xB7: ("Han Xin", "]h0"),
    0xC1: ("Data Matrix", "]d2"),
    0xC2: ("QR Code", "]Q3"),
}
"""Type byte of DECODE_DATA → the symbology, and the AIM identifier that a scanner would have sent with it."""

# Short high beeps for good, low ones for bad: heard apart without counting.
_BEEPS: Final[dict[Tone, int]] = {"good": 0x00, "repeat": 0x01, "bad": 0x07, "attention": 0x03}
_DECODE_LAMP: Final = bytes([0x01])
_PACKETED_DECODE_DATA: Final = 0xEE
_NO_BEEP: Final = 0xFF


class SsiFramer:
    """The host's end: codes out of DECODE_DATA, whatever it takes on the line; beeps and the lamp for tones.

    Other messages of a scanner (events, capabilities, revision, parameters) are acknowledged, and that is all.
    """

    request_to_send = False
    """A host that has raised RTS is about to send, for a scanner as it is delivered: it would wait for ever."""
    checked = True

    def __init__(self) -> None:
        self.counters = Counters()
        self.trouble: str | None = None
        self._link = SsiLine(Source.HOST)
        self.restart()

    def restart(self) -> None:
        """As `Framer.restart`."""
        self._link.restart()
        self.trouble = None
        self._partial = bytearray()
        self._partial_type: int | None = None
        self._partial_ns = 0
        self._segments = 0
        self._broken = self._link.broken
        self._spoiled = self._link.spoiled
        self._spoiled_ns: int | None = None
        """When something arrived damaged that may come again."""
        self._asked_for_packets = False
        self._lamp_off_ns: int | None = None

    @property
    def due_ns(self) -> int | None:
        """As `Framer.due_ns`."""
        partial_ns = self._partial_ns + PARTS_WITHIN_NS if self._partial else None
        spoiled_ns = None if self._spoiled_ns is None else self._spoiled_ns + GIVEN_UP_NS
        dues = (self._link.due_ns, self._lamp_off_ns, partial_ns, spoiled_ns)
        return min((due for due in dues if due is not None), default=None)

    def feed(self, data: bytes, now_ns: int) -> list[Code]:
        """As `Framer.feed`."""
        return self._codes(self._link.feed(data, now_ns), now_ns)

    def wake(self, now_ns: int) -> list[Code]:
        """As `Framer.wake`."""
        codes = self._codes(self._link.wake(now_ns), now_ns)
        self._drop_stale(now_ns)
        if self._lamp_off_ns is not None and now_ns >= self._lamp_off_ns:
            self._darken(now_ns)
        if self._link.bursts and self._link.broken > self._broken:
            self._learn(now_ns)
        self._broken = self._link.broken
        self._give_up(now_ns)
        self._count()
        return codes

    def signal(self, tone: Tone, now_ns: int) -> None:
        """As `Framer.signal`: a beep, and the lamp for what is well."""
        self._link.send(Packet(Opcode.BEEP, bytes([_BEEPS[tone]])), now_ns, PATIENCE_NS)
        if tone in ("good", "repeat"):
            if self._lamp_off_ns is None:
                self._link.send(Packet(Opcode.LED_ON, _DECODE_LAMP), now_ns, PATIENCE_NS)
            self._lamp_off_ns = now_ns + LAMP_NS
        elif self._lamp_off_ns is not None:
            self._darken(now_ns)
        self._count()

    def to_send(self) -> bytes:
        """As `Framer.to_send`."""
        return self._link.to_send()

    def _darken(self, now_ns: int) -> None:
        self._lamp_off_ns = None
        self._link.send(Packet(Opcode.LED_OFF, _DECODE_LAMP), now_ns)

    def _codes(self, packets: list[Packet], now_ns: int) -> list[Code]:
        codes = []
        spoiled, self._spoiled = self._link.spoiled > self._spoiled, self._link.spoiled
        # What belongs to the rest of a message is missed with it.
        if spoiled and not self._partial:
            self._spoiled_ns = now_ns
        if self._link.resent > self.counters.resent:
            self._partial_ns = now_ns  # its sender has not given it up
            self._spoiled_ns = None
        for packet in packets:
            self._drop_stale(now_ns)
            if self._spoiled_ns is not None and packet.opcode in (Opcode.DECODE_DATA, Opcode.MULTIPACKET_SEGMENT):
                if not packet.resent:
                    self.counters.lose()  # its sender has gone on to another code
                self._spoiled_ns = None
            if packet.opcode == Opcode.DECODE_DATA:
                message = self._of_packets(packet, now_ns)
            elif packet.opcode == Opcode.MULTIPACKET_SEGMENT:
                message = self._of_segments(packet, now_ns)
            else:
                continue
            if message is None:
                continue
            if code := code_of(message):
                codes.append(self.counters.took(code))
            else:
                self.counters.unreadable += 1
                if message[1:].strip(FRAMING):
                    self.counters.lose()
        if not self._link.bursts:
            self.trouble = None
        self._count()
        return codes

    def _of_packets(self, packet: Packet, now_ns: int) -> bytes | None:
        """Type byte and data, once the last packet of the message is here; each packet begins with the type."""
        kind = packet.data[0] if packet.data else 0
        # While it answers us, a scanner has not gone on with its own message.
        busy_ns = max(self._partial_ns, self._link.answered_ns or 0)
        late = not packet.resent and now_ns > busy_ns + FOLLOWS_WITHIN_NS
        if self._partial and (late or kind != self._partial_type or self._segments):
            self._drop_partial()
        if not self._partial and not packet.continues:
            return packet.data
        self._partial_type = kind
        self._keep(packet.data[1:] if self._partial else packet.data, now_ns)
        return None if packet.continues else self._take_partial()

    def _of_segments(self, packet: Packet, now_ns: int) -> bytes | None:
        """Type byte and data of a message in numbered segments: F3, two bytes, its length in two bytes, the type, 01,
        the length of the data in two bytes, the data."""
        index, segment = packet.data[:1], packet.data[1:]
        if index == b"\0":
            if self._partial:
                self._drop_partial()
        elif not self._partial or index != bytes([self._segments & 0xFF]):
            self._drop_partial()
            return None
        self._segments += 1
        self._keep(segment, now_ns)
        head, data = self._partial[:9], self._partial[9:]
        if len(head) == 9 and len(data) < int.from_bytes(head[7:]) and len(packet.data) == MAX_DATA_BYTES:
            return None
        message = self._take_partial()
        if message is None or head[:1] != bytes([Opcode.DECODE_DATA]) or len(data) != int.from_bytes(head[7:]):
            return b""
        return bytes([head[5]]) + data

    def _keep(self, data: bytes, now_ns: int) -> None:
        self._partial += data[: MAX_MESSAGE_BYTES + 1 - len(self._partial)]
        self._partial_ns = now_ns

    def _take_partial(self) -> bytes | None:
        message = bytes(self._partial)
        self._partial.clear()
        self._segments = 0
        if len(message) > MAX_MESSAGE_BYTES:
            self.counters.too_long += 1
            self.counters.lose()
            return None
        return message

    def _drop_partial(self) -> None:
        self._partial.clear()
        self._segments = 0
        self.counters.unterminated += 1
        self.counters.lose()

    def _drop_stale(self, now_ns: int) -> None:
        """Forget the beginning of a message whose end will not come: its sender has given it up by now."""
        if self._partial and now_ns >= self._partial_ns + PARTS_WITHIN_NS:
            self._drop_partial()

    def _give_up(self, now_ns: int) -> None:
        """Count as lost what arrived damaged and will not come again."""
        if self._spoiled_ns is None:
            return
        plain = is_plain_text(self._link.garbage)
        if plain or self._link.bursts >= BURSTS_IN_A_ROW or now_ns >= self._spoiled_ns + GIVEN_UP_NS:
            self._spoiled_ns = None
            self.counters.lose()

    def _learn(self, now_ns: int) -> None:
        """Tell from bytes that were no packet what is wrong with the settings."""
        if is_plain_text(self._link.garbage):
            self.trouble = (
                'sends plain text and no SSI packets: set kind = "line", or let it read the code "Send Packeted Decode '
                'Data" of its manual'
            )
            if not self._asked_for_packets:
                # Scanners are delivered so. It lasts until the power goes, and is asked for again then.
                self._asked_for_packets = True
                self._link.send(Packet(Opcode.PARAM_SEND, bytes([_NO_BEEP, _PACKETED_DECODE_DATA, 1])), now_ns)
        elif self._link.bursts >= BURSTS_IN_A_ROW:
            self.trouble = "sends what is no SSI packet: set baud as the scanner is set"

    def _count(self) -> None:
        self.counters.resent = self._link.resent
        self.counters.unanswered = self._link.unanswered
        self.counters.broken = self._link.broken


def code_of(message: bytes) -> Code | None:
    """The code of the type byte and the data that a scanner sent; ``None`` when there is no text."""
    symbology, identifier = SYMBOLOGIES.get(message[0], (None, None)) if message else (None, None)
    return read(message[1:], identifier, symbology, proven=True)
