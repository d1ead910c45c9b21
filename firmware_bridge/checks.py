"""Everything that is looked at before a byte of an image is sent, one `Check` each, so that all findings are told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from firmware_bridge import images
from firmware_bridge.errors import BridgeError, Cause
from firmware_bridge.images import Image, Key, Version
from firmware_bridge.slots import MODES, WITHOUT_RETURN, Server


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    message: str
    """What was found; when it is not ok, what to do as well."""
    reason: str = ""
    """The code of it in events; by default after the name."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", self.reason or self.name.upper().replace(" ", "_"))


def check_file(image: Image, keys: Sequence[Key], vendor_id: UUID | None, class_id: UUID | None) -> list[Check]:
    """What can be said of an image without a mount: who signed it, and for which board it is."""

    def signature() -> str:
        key = images.check_signature(image, keys)
        return f"{key.kind}, by the key of {key.name}"

    def board() -> str:
        images.check_board(image, vendor_id, class_id)
        return str(image.class_id or image.vendor_id or "the image names none, and none is set")

    return [_checked("signature", signature), _checked("board", board)]


def check_mount(
    image: Image, server: Server, *, slot_bytes: int | None = None, without_return: bool = False
) -> list[Check]:
    """Whether this server may get the image now; `slot_bytes` counts where it does not say how much it takes."""
    running = server.running
    if server.slots is None:
        message = "the mount's firmware has no image management: it can be updated only through its debug connector"
        return [Check("state", False, message)]
    if running is None or running.hash is None:
        found = "no image runs" if running is None else "it tells no hashes"
        message = f"{found}, as far as the mount says: is this its boot loader? `kerbside firmware reset` leaves it"
        return [Check("state", False, message)]

    def state() -> str:
        pending = next((slot for slot in server.slots or () if slot.pending and slot.hash != image.hash), None)
        if pending is not None:
            raise _invalid(f"{pending.version} waits for a restart already: `kerbside firmware reset` lets it start")
        if not running.confirmed and running.hash != image.hash:
            raise _invalid(
                f"{running.version} runs for a trial: keep it (`kerbside firmware confirm`), or go back to the one "
                "before (`kerbside firmware reset`)"
            )
        return f"{running.version} runs{'' if running.confirmed else ' for a trial'}"

    def hash_() -> str:
        if len(image.hash) != len(running.hash or b""):
            known = len(running.hash or b"") * 8
            raise _invalid(f"{image.hash_algorithm.upper()}, and the mount knows images by {known} bits: sign it so")
        return image.hash_algorithm.upper()

    def version() -> str:
        images.check_version(image, Version.parse(running.version))
        return f"{image.version}, {running.version} runs"

    def size() -> str:
        free = next(
            (size for (number, slot), size in server.sizes.items() if number == 0 and slot != running.slot), None
        )
        limit = free or slot_bytes
        if limit is None:
            return f"{len(image.content):,} bytes; the mount does not say how much it takes"
        images.check_size(image, limit)
        return f"{len(image.content):,} bytes of {limit:,}"

    def way_back() -> str:
        mode = server.boot_loader.mode if server.boot_loader else None
        told = f"its boot loader's mode is “{MODES.get(mode, mode)}”" if mode is not None else "it does not say"
        if mode in WITHOUT_RETURN and not without_return:
            raise _invalid(f"{told}: it cannot take back an image that fails; --without-return sends it all the same")
        return told

    return [
        _checked("state", state),
        _checked("hash", hash_),
        _checked("version", version),
        _checked("size", size),
        _checked("way back", way_back),
    ]


def _checked(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except BridgeError as error:
        return Check(name, False, str(error))


def _invalid(message: str) -> BridgeError:
    return BridgeError(message, Cause.INVALID)
