"""Section `[[scanner]]`: one table a bar code scanner."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from agent.settings.section import DeviceMatch, MisplacedError, Section, valid_name
from drivers.hotplug import Subsystem


def _part_name(text: str) -> str:
    if text in {"broker", "camera", "clock", "console", "gps", "journal", "mount", "screen", "workers"}:
        raise ValueError("expected a name that no other part of the unit has")
    return valid_name(text)


def _named_terminator(value: object) -> object:
    names = {"\r": "cr", "\n": "lf", "\r\n": "crlf", "\x03": "etx", "": "none"}
    return names.get(value, value) if isinstance(value, str) else value


class ScannerSettings(Section):
    """One bar code scanner."""

    name: Annotated[str, AfterValidator(_part_name)]
    """What the scanner is called in events, states and logs."""
    kind: Literal["line", "ssi", "honeywell", "hid", "hidpos"] = "line"
    """Serial: `line`, to which nothing is ever written; `honeywell`, which also beeps with the answer; `ssi`, a Zebra
    that speaks SSI. USB: `hid` types like a keyboard, `hidpos` is HID POS."""
    port: DeviceMatch
    """Its stable path, such as `/dev/serial/by-id/…`, or its numbers, `vendor:product` or `vendor:product:serial`;
    `kerbside devices` lists them."""
    baud: Annotated[int, Field(ge=300, le=4_000_000)] = 9600
    """Its speed; a scanner on USB ignores it."""
    terminator: Annotated[Literal["auto", "cr", "lf", "crlf", "etx", "none"], BeforeValidator(_named_terminator)] = (
        "auto"
    )
    """What ends a scan; `auto` takes CR, LF and CRLF alike, `etx` is for STX before and ETX behind a code, `none` for a
    scanner without a suffix. Of a scanner that types, `auto` takes Enter and Tab, the others take Enter."""
    idle_flush_ms: Annotated[int, Field(ge=0, le=10_000)] = 0
    """The silence that ends a scan, for a scanner without a suffix; 0: silence ends none."""
    host_ack: bool = False
    """Whether a scanner of kind `honeywell` is set to Host ACK, and waits for the answer before it reads on."""
    layout: Literal["us", "de", "fr", "uk"] = "us"
    """The keyboard that a scanner of kind `hid` is set to type on; the other kinds ignore it."""

    @property
    def subsystem(self) -> Subsystem:
        """Of which kind its device is to the kernel."""
        kinds: dict[str, Subsystem] = {"hid": "input", "hidpos": "hidraw"}
        return kinds.get(self.kind, "tty")

    @model_validator(mode="after")
    def _a_scan_can_end(self) -> Self:
        if self.terminator == "none" and self.idle_flush_ms == 0:
            raise MisplacedError("idle_flush_ms", 'expected more than 0 with terminator = "none", got 0: 50 suits most')
        return self
