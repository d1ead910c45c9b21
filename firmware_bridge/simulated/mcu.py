"""The microcontroller of a mount without its hardware: an SMP server with image management and the panel's group.

Answers as Zephyr's MCUmgr documents it, errors of both versions of SMP included. What the panel reports and what it
was told are public attributes. An image whose body begins with one of `SICK` behaves accordingly once it runs, so that
an update can be seen to fail.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import cbor2
from smp.error import MGMT_ERR
from smp.header import OP, CommandId, GroupId
from smp.image_management import IMG_MGMT_ERR as IMG
from smp.os_management import OS_MGMT_RET_RC

from firmware_bridge.simulated.boot import Flash, Found, PowerCut, Slot, Swap

PANEL_GROUP: Final = 65
MUTE: Final = b"SICK:mute"
"""This image's server says nothing; its hardware watchdog resets it after `Microcontroller.watchdog_s`."""
NO_PANEL: Final = b"SICK:panel"
"""This image's server answers, but has no panel."""
CRASH: Final = b"SICK:crash"
"""This image resets itself `Microcontroller.watchdog_s` after each start."""
SICK: Final = (MUTE, NO_PANEL, CRASH)
SIGNALS_KEPT: Final = 1000

_SLOT_INFO: Final = 6


class Told(NamedTuple):
    """What the buzzer and the lamp were told, and when."""

    buzzer: int | None
    lamp: int | None
    monotonic_ns: int


class _Refused(Exception):  # noqa: N818 - an answer, not a failure
    def __init__(self, rc: int, group: int | None = None) -> None:
        super().__init__(rc, group)
        self.rc, self.group = rc, group


@dataclass(slots=True)
class _Upload:
    """An upload under way: lost when the power goes."""

    size: int = 0
    offset: int = 0
    sha: bytes = b""


@dataclass(slots=True)
class Panel:
    """What the mount's sensors say."""

    ignition: bool = True
    supply_mv: int = 13_800
    buttons: int = 0
    acceleration_mg: tuple[int, int, int] = (0, 0, 1000)
    """Peak since the last read; goes back to rest with each."""
    rest_mg: tuple[int, int, int] = (0, 0, 1000)


@dataclass(slots=True)
class Microcontroller:
    """A mount's microcontroller. `handle` answers one message; `busy_s` is what that took of its time."""

    flash: Flash = field(default_factory=Flash)
    panel: Panel = field(default_factory=Panel)
    buffer_bytes: int = 384
    buffers: int = 4
    lacks: frozenset[tuple[int, int] | int] = frozenset()
    """Groups, or pairs of group and command, that this firmware was built without."""
    version_1: bool = False
    """Answers errors as the first version of SMP does."""
    checks_hash: bool = True
    """Says of an upload whether it matches its SHA-256."""
    erase_s: float = 0.0
    """Time for a sector."""
    write_bytes_per_s: float = 0.0
    """Speed of the flash; 0 for no time at all."""
    swap_s: float = 0.0
    """Time the boot loader takes for a sector."""
    start_s: float = 0.05
    watchdog_s: float = 1.0
    told: deque[Told] = field(default_factory=lambda: deque(maxlen=SIGNALS_KEPT))
    kicks: int = 0
    clock: str | None = None
    """What its clock was set to, as it was told."""
    resets: list[str] = field(default_factory=list)
    busy_s: float = 0.0
    reset_due: float | None = None
    """When it restarts because it was asked to, or its watchdog bites."""
    running: Found | None = None
    on: bool = False
    starts_at: float = 0.0
    """Until then the boot loader is at work, and nobody answers."""
    _started: float = 0.0
    _cause: str = "por"
    _upload: _Upload = field(default_factory=_Upload)

    # --- power --------------------------------------------------------------------------------------------------

    def start(self, cause: str) -> None:
        """Power on or reset: the boot loader, then the image it chooses.

        :raises PowerCut: the power has gone meanwhile
        """
        self.on, self.running, self.reset_due = True, None, None
        self._upload = _Upload()
        self.busy_s = 0.0
        self._cause = cause
        self.starts_at = math.inf  # until the boot loader is through
        self.resets.append(cause)
        before = self.flash.swapped if self.flash.swapping else 0
        swaps = self.flash.swapping is not None or self.flash.next_swap is not None
        self.running = self.flash.boot()
        sectors = self.flash.swapped - before if swaps and not self.flash.swapping else 0
        self._started = self.starts_at = time.monotonic() + self.start_s + max(0, sectors) * self.swap_s
        if self.sick(MUTE) or self.sick(CRASH):
            self.reset_due = self.starts_at + self.watchdog_s

    def stop(self) -> None:
        """The power is off."""
        self.on, self.running, self.reset_due = False, None, None

    def sick(self, how: bytes) -> bool:
        """The image that runs is ill in this way."""
        return self.running is not None and self.running.body.startswith(how)

    # --- requests -----------------------------------------------------------------------------------------------

    def handle(self, op: int, version: int, group: int, command: int, data: bytes) -> dict[str, Any] | None:
        """The answer's map; ``None`` for none.

        :raises PowerCut: the power has gone meanwhile
        """
        if self.running is None or self.sick(MUTE) or time.monotonic() < self.starts_at:
            return None
        self.busy_s = 0.0
        try:
            return self._answer(OP(op), group, command, _understood(data))
        except _Refused as refused:
            if refused.group is None or version == 0 or self.version_1:
                return {"rc": _plain(refused.rc, refused.group)}
            return {"err": {"group": refused.group, "rc": refused.rc}}

    def _answer(self, op: OP, group: int, command: int, data: Mapping[str, Any]) -> dict[str, Any]:
        handlers: dict[tuple[int, int, OP], Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            (GroupId.OS_MANAGEMENT, CommandId.OSManagement.ECHO, OP.READ): self._echo,
            (GroupId.OS_MANAGEMENT, CommandId.OSManagement.ECHO, OP.WRITE): self._echo,
            (GroupId.OS_MANAGEMENT, CommandId.OSManagement.DATETIME_STRING, OP.READ): self._read_clock,
            (GroupId.OS_MANAGEMENT, CommandId.OSManagement.DATETIME_STRING, OP.WRITE): self._set_clock,
            (GroupId.OS_MANAGEMENT, CommandId.OSManagement.RESET, OP.WRITE): self._reset,
            (GroupId.OS_MANAGEMENT, CommandId.OSManagement.MCUMGR_PARAMETERS, OP.READ): self._parameters,
            (GroupId.OS_MANAGEMENT, CommandId.OSManagement.BOOTLOADER_INFO, OP.READ): self._boot_loader,
            (GroupId.IMAGE_MANAGEMENT, CommandId.ImageManagement.STATE, OP.READ): self._images,
            (GroupId.IMAGE_MANAGEMENT, CommandId.ImageManagement.STATE, OP.WRITE): self._set_state,
            (GroupId.IMAGE_MANAGEMENT, CommandId.ImageManagement.UPLOAD, OP.WRITE): self._take,
            (GroupId.IMAGE_MANAGEMENT, CommandId.ImageManagement.ERASE, OP.WRITE): self._erase,
            (GroupId.IMAGE_MANAGEMENT, _SLOT_INFO, OP.READ): self._slot_info,
            (PANEL_GROUP, 0, OP.READ): self._panel,
            (PANEL_GROUP, 1, OP.WRITE): self._out,
            (PANEL_GROUP, 2, OP.WRITE): self._kick,
        }
        handler = handlers.get((group, command, op))
        lacking = group in self.lacks or (group, command) in self.lacks
        if handler is None or lacking or (group == PANEL_GROUP and self.sick(NO_PANEL)):
            raise _Refused(MGMT_ERR.ENOTSUP)
        return handler(data)

    def _echo(self, data: Mapping[str, Any]) -> dict[str, Any]:
        return {"r": _text(data, "d")}

    def _parameters(self, _data: Mapping[str, Any]) -> dict[str, Any]:
        return {"buf_size": self.buffer_bytes, "buf_count": self.buffers}

    def _boot_loader(self, data: Mapping[str, Any]) -> dict[str, Any]:
        if not data:
            return {"bootloader": "MCUboot"}
        if data.get("query") != "mode":
            raise _Refused(OS_MGMT_RET_RC.QUERY_YIELDS_NO_ANSWER, GroupId.OS_MANAGEMENT)
        return {"mode": 3, **({} if self.flash.allow_older else {"no-downgrade": True})}

    def _read_clock(self, _data: Mapping[str, Any]) -> dict[str, Any]:
        if self.clock is None:
            raise _Refused(OS_MGMT_RET_RC.RTC_NOT_SET, GroupId.OS_MANAGEMENT)
        return {"datetime": self.clock}

    def _set_clock(self, data: Mapping[str, Any]) -> dict[str, Any]:
        text = _text(data, "datetime")
        if not 19 <= len(text) <= 26:  # what Zephyr's buffer takes
            raise _Refused(OS_MGMT_RET_RC.INVALID_FORMAT, GroupId.OS_MANAGEMENT)
        self.clock = text
        return {}

    def _reset(self, _data: Mapping[str, Any]) -> dict[str, Any]:
        self.reset_due = time.monotonic() + 0.05
        return {}

    # --- images -------------------------------------------------------------------------------------------------

    def _images(self, _data: Mapping[str, Any]) -> dict[str, Any]:
        swap = self.flash.next_swap
        listed = []
        for number, slot in enumerate((self.flash.primary, self.flash.secondary)):
            if (image := slot.image) is None:
                continue
            active = number == 0
            listed.append(
                {
                    "slot": number,
                    "version": image.version_text,
                    "hash": image.hash,
                    "bootable": image.bootable,
                    "pending": not active and swap in (Swap.TEST, Swap.PERMANENT),
                    "confirmed": active != (swap is Swap.REVERT),
                    "active": active,
                    "permanent": not active and swap is Swap.PERMANENT,
                }
            )
        return {"images": listed, "splitStatus": 0}

    def _set_state(self, data: Mapping[str, Any]) -> dict[str, Any]:
        wanted, confirm = data.get("hash", b""), data.get("confirm", False)
        if not isinstance(wanted, bytes) or not isinstance(confirm, bool):
            raise _Refused(MGMT_ERR.EINVAL)
        if not wanted and not confirm:
            raise _image_error(IMG.INVALID_HASH)
        slot = self._slot_of(wanted) if wanted else self.flash.primary
        active, swap = slot is self.flash.primary, self.flash.next_swap
        if active and not confirm:
            raise _image_error(IMG.IMAGE_SETTING_TEST_TO_ACTIVE_DENIED)
        if swap is None:
            if not active:
                self.flash.request(permanent=confirm)
        elif swap is Swap.REVERT:
            if not confirm:
                raise _image_error(IMG.IMAGE_ALREADY_PENDING)
            if active:
                self.flash.confirm()
        elif active or confirm != (swap is Swap.PERMANENT):
            raise _image_error(IMG.IMAGE_ALREADY_PENDING)
        return self._images({})

    def _slot_of(self, wanted: bytes) -> Slot:
        for slot in (self.flash.primary, self.flash.secondary):
            if (image := slot.image) and image.hash == wanted:
                return slot
        raise _image_error(IMG.HASH_NOT_FOUND if len(wanted) == 32 else IMG.INVALID_HASH)

    @property
    def _in_use(self) -> bool:
        """The secondary slot may not be written: its image is to be started, or to be gone back to."""
        return self.flash.next_swap is not None

    def _erase(self, data: Mapping[str, Any]) -> dict[str, Any]:
        slot = data.get("slot", 1)
        if not isinstance(slot, int) or slot not in (0, 1):
            raise _image_error(IMG.INVALID_SLOT)
        if slot == 0 or (self._in_use and self.flash.secondary.image):
            raise _image_error(IMG.NO_FREE_SLOT)
        self._upload = _Upload()
        self.busy_s = self.flash.erase() * self.erase_s
        return {}

    def _slot_info(self, _data: Mapping[str, Any]) -> dict[str, Any]:
        slots = [{"slot": number, "size": self.flash.slot_bytes} for number in (0, 1)]
        return {"images": [{"image": 0, "slots": slots, "max_image_size": self._most_bytes}]}

    @property
    def _most_bytes(self) -> int:
        """The last sector keeps the boot loader's marks."""
        return self.flash.slot_bytes - 4096

    def _take(self, data: Mapping[str, Any]) -> dict[str, Any]:
        offset, chunk = data.get("off"), data.get("data", b"")
        if not isinstance(offset, int) or not isinstance(chunk, bytes):
            raise _image_error(IMG.INVALID_OFFSET)
        upload = self._upload
        if offset == 0:
            if self._begin(data, chunk):
                return {"off": upload.offset}
        elif offset != upload.offset:
            return {"off": upload.offset}
        if upload.offset + len(chunk) > upload.size:
            self._upload = _Upload()
            raise _image_error(IMG.INVALID_IMAGE_DATA_OVERRUN)
        self.flash.write(upload.offset, chunk)
        if self.write_bytes_per_s:
            self.busy_s += len(chunk) / self.write_bytes_per_s
        upload.offset += len(chunk)
        answer: dict[str, Any] = {"off": upload.offset}
        if upload.offset == upload.size:
            if self.checks_hash and upload.sha:
                written = hashlib.sha256(self.flash.secondary.data[: upload.size]).digest()
                answer["match"] = written.startswith(upload.sha)
            self._upload = _Upload()
        return answer

    def _begin(self, data: Mapping[str, Any], chunk: bytes) -> bool:
        """The first chunk of an upload; True when it only continues the one that is under way."""
        size, sha = data.get("len"), data.get("sha", b"")
        if len(chunk) < 32:
            raise _image_error(IMG.INVALID_IMAGE_HEADER)
        if not isinstance(size, int):
            raise _image_error(IMG.INVALID_LENGTH)
        if int.from_bytes(chunk[:4], "little") != 0x96F3B83D:
            raise _image_error(IMG.INVALID_IMAGE_HEADER_MAGIC)
        if not isinstance(sha, bytes) or len(sha) > 32:
            raise _image_error(IMG.INVALID_HASH)
        if sha and sha == self._upload.sha:
            return True
        if data.get("image", 0) != 0:
            raise _image_error(IMG.INVALID_SLOT)
        if self._in_use:
            raise _image_error(IMG.NO_FREE_SLOT)
        if size > self._most_bytes:
            raise _image_error(IMG.INVALID_IMAGE_TOO_LARGE)
        if data.get("upgrade") and self.running:
            offered = (chunk[20], chunk[21], int.from_bytes(chunk[22:24], "little"))
            if offered <= self.running.version[:3]:
                raise _image_error(IMG.CURRENT_VERSION_IS_NEWER)
        self.busy_s += self.flash.erase(size) * self.erase_s
        self._upload.size, self._upload.offset, self._upload.sha = size, 0, sha
        return False

    # --- the panel ----------------------------------------------------------------------------------------------

    def _panel(self, _data: Mapping[str, Any]) -> dict[str, Any]:
        panel = self.panel
        peak, panel.acceleration_mg = panel.acceleration_mg, panel.rest_mg
        return {
            "ign": panel.ignition,
            "mv": panel.supply_mv,
            "btn": panel.buttons,
            "acc": list(peak),
            "rst": self._cause,
            "up": max(0, int((time.monotonic() - self._started) * 1000)),
        }

    def _out(self, data: Mapping[str, Any]) -> dict[str, Any]:
        if not all(isinstance(value, int) and 0 <= value < 1 << 32 for value in data.values()):
            raise _Refused(MGMT_ERR.EINVAL)
        self.told.append(Told(data.get("buz"), data.get("lamp"), time.monotonic_ns()))
        return {}

    def _kick(self, _data: Mapping[str, Any]) -> dict[str, Any]:
        self.kicks += 1
        return {}


def _understood(data: bytes) -> Mapping[str, Any]:
    try:
        understood = cbor2.loads(data) if data else {}
    except Exception:  # noqa: BLE001 - whatever a stranger's bytes make of the decoder
        raise _Refused(MGMT_ERR.EINVAL) from None
    if not isinstance(understood, dict):
        raise _Refused(MGMT_ERR.EINVAL)
    return understood


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str):
        raise _Refused(MGMT_ERR.EINVAL)
    return value


def _image_error(rc: IMG) -> _Refused:
    return _Refused(rc, GroupId.IMAGE_MANAGEMENT)


def _plain(rc: int, group: int | None) -> int:
    """A group's error as the first version of SMP has it."""
    if group is None:
        return rc
    if group != GroupId.IMAGE_MANAGEMENT:
        return MGMT_ERR.EUNKNOWN
    if rc in (IMG.NO_FREE_SLOT, IMG.CURRENT_VERSION_IS_NEWER, IMG.IMAGE_ALREADY_PENDING):
        return MGMT_ERR.EBADSTATE
    if rc in (IMG.INVALID_SLOT, IMG.INVALID_OFFSET, IMG.INVALID_LENGTH, IMG.INVALID_IMAGE_HEADER, IMG.INVALID_HASH):
        return MGMT_ERR.EINVAL
    return MGMT_ERR.EUNKNOWN


__all__ = ["CRASH", "MUTE", "NO_PANEL", "PANEL_GROUP", "SICK", "Microcontroller", "Panel", "PowerCut", "Told"]
