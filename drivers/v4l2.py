"""A camera of the kernel (Video4Linux 2): what stands behind a node, and a capture of it with the best format it has.

OpenCV reads; it says only that it cannot. So the node is asked first, by the kernel's own calls, who and what it is
and whether another program has it: each answer that keeps it from being used is an error of its own, with what to do.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from pathlib import Path
from typing import Any, Final

from drivers.hotplug import in_use
from drivers.jpeg import opencv
from drivers.readings import Condition, DriverError

# <linux/videodev2.h> and <linux/major.h>.
_MAJOR: Final = 81
_QUERYCAP, _ENUM_FMT, _REQBUFS = 0x80685600, 0xC0405602, 0xC0145608
_CAPABILITY, _FORMAT, _BUFFERS = struct.Struct("16s32s32sIII12x"), struct.Struct("III32s4s16x"), struct.Struct("IIIII")
_DEVICE_CAPS: Final = 0x80000000
_VIDEO_CAPTURE, _VIDEO_CAPTURE_MPLANE = 0x1, 0x1000
_OUTPUT, _META_CAPTURE = 0x2 | 0x2000, 0x00800000
_BUFFER_TYPES: Final = {_VIDEO_CAPTURE: 1, _VIDEO_CAPTURE_MPLANE: 9}
_MEMORY_MMAP: Final = 1

JPEGS: Final = ("MJPG", "JPEG")
PREFERRED: Final = (*JPEGS, "YUYV", "UYVY", "NV12", "YU12")
"""JPEG needs the least of the bus and no encoding; the others cost OpenCV little."""


def formats(node: str, who: str) -> tuple[str, ...]:
    """The pixel formats of the camera at `node`, by their four characters; `who` begins the messages.

    :raises DriverError: nothing is there, or it cannot be used as it is
    """
    try:
        status = Path(node).stat()
        if not stat.S_ISCHR(status.st_mode) or os.major(status.st_rdev) != _MAJOR:
            # Not even opened: it may be a line, or a watchdog that wants to be fed from then on.
            raise DriverError(f"{who} is no camera: correct camera.source (`kerbside devices` lists cameras)")
        handle = os.open(node, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _fault(node, who, error) from error
    try:
        return _ask(handle, node, who)
    finally:
        os.close(handle)


def _ask(handle: int, node: str, who: str) -> tuple[str, ...]:
    try:
        return _formats(handle, who)
    except OSError as error:
        raise _fault(node, who, error) from error


def _formats(handle: int, who: str) -> tuple[str, ...]:
    answer = bytearray(_CAPABILITY.size)
    fcntl.ioctl(handle, _QUERYCAP, answer)
    *_, everything, here = _CAPABILITY.unpack(answer)
    abilities = here if everything & _DEVICE_CAPS else everything
    kind = next((number for ability, number in _BUFFER_TYPES.items() if abilities & ability), None)
    if kind is None:
        does = (
            "gives metadata" if abilities & _META_CAPTURE else "takes pictures" if abilities & _OUTPUT else "is there"
        )
        raise DriverError(
            f"{who} {does} and gives no pictures: of a camera's nodes it is the one that ends in index0 "
            "(`kerbside devices` lists it)"
        )
    try:
        # Asking for no buffers changes nothing, and is refused while another program has some.
        fcntl.ioctl(handle, _REQBUFS, bytearray(_BUFFERS.pack(0, kind, _MEMORY_MMAP, 0, 0)))
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.ENODEV):
            raise
    found: list[str] = []
    while len(found) < 64:
        answer = bytearray(_FORMAT.pack(len(found), kind, 0, b"", b""))
        try:
            fcntl.ioctl(handle, _ENUM_FMT, answer)
        except OSError as error:
            if error.errno == errno.EINVAL:  # that was the last one
                break
            raise
        found.append(_name(int.from_bytes(_FORMAT.unpack(answer)[4], "little")))
    return tuple(found)


def _name(fourcc: int) -> str:
    """Its four characters; the highest bit says that the bytes of a pixel are the other way round."""
    name = (fourcc & 0x7FFFFFFF).to_bytes(4, "little").decode("ascii", "replace").strip()
    return f"{name}-BE" if fourcc >> 31 else name


def _fault(node: str, who: str, error: OSError) -> DriverError:
    match error.errno:
        case errno.ENOENT | errno.ENXIO | errno.ENODEV:
            return absent(who)
        case errno.EACCES | errno.EPERM:
            return DriverError(f"{who} may not be opened by this user: add the user to the group video")
        case errno.EBUSY:
            return DriverError(f"{who} is {in_use(node)}")
    return DriverError(f"{who} does not answer as a camera does ({error.strerror}): pull its plug and plug it in again")


def absent(who: str) -> DriverError:
    """There is nothing at the path."""
    return DriverError(
        f"{who} is not there: plug it in, or correct camera.source (`kerbside devices` lists cameras)", Condition.ABSENT
    )


def open_capture(node: str, who: str, width: int, height: int, fps: float) -> tuple[Any, str]:
    """OpenCV's capture of the camera and the format that it really gives; JPEGs come as they are.

    Size and rate are asked for, and may be given otherwise.

    :raises DriverError: it cannot be opened, or has no format that OpenCV reads
    """
    offered = formats(node, who)
    cv2 = opencv()
    capture = cv2.VideoCapture(node, cv2.CAP_V4L2)
    if not capture.isOpened():
        raise DriverError(
            f"{who} cannot be set up: it has the formats {', '.join(offered) or 'none'}; expected MJPG or YUYV, and "
            "no other program that uses it"
        )
    # One buffer: the next picture is a new one, not one that has waited.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    for wanted in PREFERRED:
        if wanted in offered and capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*wanted)):
            break
    # Width and height count when both are set. Some cameras have no size of their own before that.
    capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
    capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
    capture.set(cv2.CAP_PROP_FPS, max(1, round(fps)))
    given = _name(int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF)
    if given in JPEGS:
        capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)
    return capture, given
