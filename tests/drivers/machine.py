"""A /sys and a /dev as the kernel and udev build them, to which a test plugs things."""

from __future__ import annotations

from pathlib import Path

DIGITS_AND_LETTERS = "fffffffffffffffe"
"""The lowest word of a keyboard's `capabilities/key`."""
POS_DESCRIPTOR = bytes.fromhex("058c0902a101")
BOOT_KEYBOARD_DESCRIPTOR = bytes.fromhex("05010906a101")


class Machine:
    """Nothing is plugged in at first."""

    def __init__(self, root: Path) -> None:
        self.sys, self.dev = root / "sys", root / "dev"
        self.sys.mkdir()
        self.dev.mkdir()
        (self.sys / "bus/usb/devices").mkdir(parents=True)
        self._inputs = 0

    def usb(self, port: str, vendor: str, product: str, name: str = "Maker Thing", serial: str | None = None) -> Path:
        """A USB device; returns the folder of its first interface."""
        device = self.sys / "devices/pci0/usb1" / port
        interface = device / f"{port}:1.0"
        interface.mkdir(parents=True)
        (self.sys / "bus/usb/devices" / port).symlink_to(device)
        maker, _, model = name.partition(" ")
        self._write(device, idVendor=vendor, idProduct=product, manufacturer=maker, product=model)
        if serial:
            self._write(device, serial=serial)
        return interface

    def board(self, name: str) -> Path:
        """Something that is soldered to the board."""
        folder = self.sys / "devices/platform" / name
        folder.mkdir(parents=True)
        return folder

    def tty(self, name: str, device: Path | None, **files: str) -> Path:
        """A serial line; returns its node."""
        if device:
            (device / "driver").mkdir(exist_ok=True)
        return self._node("tty", name, device, **files)

    def keyboard(
        self,
        event: str,
        above: Path,
        numbers: str,
        name: str,
        *,
        keys: str = DIGITS_AND_LETTERS,
        bus: str = "0003",
    ) -> Path:
        """An input device below a USB interface or anything else; `numbers` is ``vendor:product``."""
        self._inputs += 1
        folder = above / f"input/input{self._inputs}"
        (folder / "id").mkdir(parents=True)
        (folder / "capabilities").mkdir()
        vendor, product = numbers.split(":")
        self._write(folder / "id", bustype=bus, vendor=vendor, product=product)
        self._write(folder / "capabilities", key=keys)
        self._write(folder, name=name, uniq="")
        return self._node("input", event, folder)

    def hid(self, name: str, above: Path, numbers: str, descriptor: bytes, *, title: str = "Thing") -> Path:
        """A HID device of a USB interface or of a radio."""
        vendor, product = numbers.upper().split(":")
        folder = above / f"0003:{vendor}:{product}.{name.removeprefix('hidraw').zfill(4)}"
        folder.mkdir(parents=True)
        self._write(folder, uevent=f"DRIVER=hid-generic\nHID_ID=0003:0000{vendor}:0000{product}\nHID_NAME={title}")
        (folder / "report_descriptor").write_bytes(descriptor)
        return self._node("hidraw", name, folder)

    def camera(self, name: str, device: Path, title: str, index: str = "0") -> Path:
        """A node of a camera."""
        return self._node("video4linux", name, device, name=title, index=index)

    def link(self, name: str, node: Path) -> str:
        """A name that udev gives, below /dev."""
        link = self.dev / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(node)
        return str(link)

    def _node(self, kind: str, name: str, device: Path | None, /, **files: str) -> Path:
        entry = self.sys / "class" / kind / name
        entry.mkdir(parents=True)
        self._write(entry, **files)
        if device:
            (entry / "device").symlink_to(device)
        node = self.dev / ("input" if kind == "input" else "") / name
        node.parent.mkdir(exist_ok=True)
        node.touch()
        return node

    @staticmethod
    def _write(folder: Path, **files: str) -> None:
        for file, content in files.items():
            (folder / file).write_text(f"{content}\n")
