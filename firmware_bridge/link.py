"""SMP over a serial line: requests to the microcontroller of the mount and their answers.

Any server of Zephyr's MCUmgr on a UART, a console or a shell will do, and MCUboot's serial recovery. A request ends
within the time that its caller stated, whatever comes down the line or does not: answers are matched to their request
by sequence number, operation, group and command; what is late, garbled or asked for by nobody is dropped and counted;
a line that takes no more bytes is given up. Frames are written at the line's own pace: a server keeps as little as two.

Of the `smp` package this takes the names of operations, groups, commands and errors. Messages are maps (CBOR), not its
models: those refuse an answer that has one member more than they know, and its header refuses the command SLOT_INFO.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import random
import select
import stat
import struct
import termios
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, TypeGuard

import cbor2
import serial
from smp.header import OP, CommandId, GroupId

from drivers.node import keep_others_out
from firmware_bridge.errors import BridgeError, Cause
from firmware_bridge.framing import FRAME_BYTES, OVERHEAD_BYTES, Unframer, frames

__all__ = ["OP", "BridgeError", "Cause", "CommandId", "Counters", "GroupId", "Link", "Parameters", "Reply"]

log = logging.getLogger(__name__)

ASSUMED_BUFFER_BYTES: Final = 256
"""For a server that does not tell: two lines, which also the smallest take."""
LEAST_BUFFER_BYTES: Final = 32
MOST_BUFFER_BYTES: Final = 0xFFFF
FIRST_BACK_OFF_S: Final = 0.05
MOST_BACK_OFF_S: Final = 0.4
BITS_PER_BYTE: Final = 10
"""On the wire: a start bit, eight of data, a stop bit."""
AHEAD_S: Final = 0.001
"""A frame is written this long before the one in front of it has left: a sleep is not exact, and the line shall not
idle. Not longer: a server that is slow to look (Zephyr's on a pseudo-terminal looks each 20 ms) has room for two."""
GAP_S: Final = 0.025
"""Between frames, for a server that does not keep up with the line."""
DEEPEST: Final = 16
"""How many lists and maps may be inside each other in an answer."""
READ_BYTES: Final = 65_536

CLOSING_S: Final = 0.1
"""How soon a write that is stuck notices that the link was closed."""

_HEADER: Final = struct.Struct("!BBHHBB")
_SEQUENCE_AT: Final = 6
_OPERATION: Final = 0b111
_VERSION_2: Final = 1 << 3
_NOT_SUPPORTED: Final = 8
"""MGMT_ERR_ENOTSUP: the server has no such group or command."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """What the server can take (OS group, command 6)."""

    buffer_bytes: int
    """One SMP message with its header, and the four bytes of its framing."""
    buffers: int
    told: bool
    """False when the server does not say: then a size is assumed that every server takes."""


@dataclass(slots=True)
class Counters:
    """What has happened on the line since the link was made."""

    sent: int = 0
    answered: int = 0
    repeated: int = 0
    """Requests sent once more because no answer came."""
    unexpected: int = 0
    """Whole messages that answer no request that is under way: late, doubled, or asked for by nobody."""
    garbled: int = 0
    lines: int = 0
    """Lines of text."""


class Reply:
    """The answer that is still to come to a request of `Link.post`."""

    def __init__(
        self, link: Link, sequence: int, answers: tuple[int, int, int], deadline: float, slots: threading.Semaphore
    ) -> None:
        self.sequence = sequence
        self.slots = slots
        """Where its turn is given back."""
        self.answers = answers
        """Operation, group and command of the answer."""
        self.deadline = deadline
        self._link = link
        self._came = threading.Event()
        self._payload = b""
        self._lost: BridgeError | None = None
        self._garbled_before = link.counters.garbled
        self._lines_before = link.counters.lines

    def settle(self, payload: bytes, lost: BridgeError | None = None) -> None:
        """Called by the link: the answer has come, or cannot come any more."""
        self._payload, self._lost = payload, lost
        self._came.set()

    def wait(self, timeout_s: float | None = None) -> dict[str, Any]:
        """The answer's map; without `timeout_s`, within the link's, counted from when the request was handed over.

        :raises BridgeError: timeout, garbled, refused, unsupported, gone
        """
        if timeout_s is not None:
            self.deadline = time.monotonic() + timeout_s
        try:
            came = self._came.wait(max(0.0, self.deadline - time.monotonic()))
        finally:
            self._link.forget(self)
        if self._lost is not None:
            raise _again(self._lost)
        if not came:
            raise self._silence()
        return self._link.understand(self._payload)

    def _silence(self) -> BridgeError:
        counters = self._link.counters
        who = f"the microcontroller at {self._link.port}"
        if garbled := counters.garbled - self._garbled_before:
            return BridgeError(
                f"{who} sends what cannot be read ({garbled} garbled frames, no answer): check the baud rate and the "
                "cable",
                Cause.GARBLED,
            )
        came = "only text came" if counters.lines > self._lines_before else "nothing came"
        return BridgeError(
            f"{who} does not answer ({came}): check that it has power, and that its firmware has an SMP server on "
            "this line at this baud rate",
            Cause.TIMEOUT,
        )


class Link:
    """One serial line with an SMP server at its other end; `open` it, or use it as a context manager.

    `timeout_s` is for one attempt as a whole, from handing the request over to having its answer; `retries` is how
    many attempts may follow the first. `on_line` gets each line of text that comes between messages; it is called in
    the link's own thread and must return at once.
    """

    def __init__(
        self,
        port: str,
        baud: int = 115_200,
        *,
        timeout_s: float = 1.0,
        retries: int = 3,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        self.port = port
        self.baud = baud
        self.timeout_s = timeout_s
        self.retries = retries
        self.parameters = Parameters(ASSUMED_BUFFER_BYTES, 1, told=False)
        self.counters = Counters()
        self._on_line = on_line
        self._opening = threading.Lock()
        """Held while the line is taken up or put down."""
        self._state = threading.Lock()
        """Guards what follows; held for moments only."""
        self._pending: dict[int, Reply] = {}
        self._sequence = random.randrange(256)  # noqa: S311 - no answer to somebody before us is taken for ours
        self._lost: BridgeError | None = _closed(port)
        self._writing = threading.Lock()
        """Held while the frames of one message are written."""
        self._slots = threading.Semaphore(1)
        self._serial: serial.Serial | None = None
        self._reader: threading.Thread | None = None
        self._wake_read = self._wake_write = -1
        self._wire_free = 0.0
        """When the last byte that was written will have left, if the line keeps its rate."""
        self._crowded = 0
        """How many messages in a row came through only with gaps between their frames."""
        self._cut = False
        """The last line written has no end."""

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- opening and closing ------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open the line and ask the server for its parameters. A link that was closed, or is gone, is opened anew.

        :raises BridgeError: gone, busy, line; timeout or garbled when no server answers
        """
        with self._opening:
            self._put_down()
            self._take_up()
        try:
            self.parameters = self._ask_parameters()
        except BaseException:
            self.close()
            raise
        self._slots = threading.Semaphore(self.window)

    def close(self) -> None:
        """Give the line back, from any thread but `on_line`'s. Whoever waits for an answer gets `Cause.GONE`."""
        with self._opening:
            self._put_down()

    def _take_up(self) -> None:
        self._serial = _open(self.port, self.baud)
        self._wake_read, self._wake_write = os.pipe()
        self._slots = threading.Semaphore(1)
        self._wire_free = 0.0
        self._crowded = 0
        self._cut = False
        with self._state:
            self._lost = None
        self._reader = threading.Thread(
            target=self._read, args=(self._serial.fileno(), self._wake_read), name=f"smp {self.port}", daemon=True
        )
        self._reader.start()

    def _put_down(self) -> None:
        self._lose(_closed(self.port))
        if self._reader is not None:
            os.write(self._wake_write, b"x")
            self._reader.join()
            self._reader = None
            os.close(self._wake_read)
            os.close(self._wake_write)
        with self._writing:
            if self._serial is not None:
                # A server that does not read would make close() wait for it.
                with contextlib.suppress(OSError, termios.error):
                    termios.tcflush(self._serial.fileno(), termios.TCOFLUSH)
                with contextlib.suppress(OSError):
                    self._serial.close()
                self._serial = None

    def _ask_parameters(self) -> Parameters:
        assumed = Parameters(ASSUMED_BUFFER_BYTES, 1, told=False)
        try:
            told = self.read(GroupId.OS_MANAGEMENT, CommandId.OSManagement.MCUMGR_PARAMETERS)
        except BridgeError as error:
            if error.cause in (Cause.UNSUPPORTED, Cause.REFUSED):
                return assumed
            raise
        size, count = told.get("buf_size"), told.get("buf_count", 1)
        if not is_number(size) or size < LEAST_BUFFER_BYTES:
            return assumed
        return Parameters(min(size, MOST_BUFFER_BYTES), count if is_number(count) and count > 0 else 1, told=True)

    # --- requests -----------------------------------------------------------------------------------------------

    def request(
        self,
        op: OP,
        group: int,
        command: int,
        payload: Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
        retries: int | None = None,
    ) -> dict[str, Any]:
        """Send a request and give back the map of its answer. From any thread; requests wait for one another.

        Ends within ``(1 + retries) * timeout_s`` and the back-off between (0.4 s each at most). A request that is
        sent again keeps its sequence number, so that a late answer to the first still counts.

        :raises BridgeError: timeout, garbled, refused, unsupported, gone, invalid (longer than the server takes)
        """
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        retries = self.retries if retries is None else retries
        message = self._message(op, group, command, payload)
        back_off_s = FIRST_BACK_OFF_S
        attempt = 0
        while True:
            # Lost twice: perhaps the server has no room for frames that follow each other closely.
            gaps = len(message) > FRAME_BYTES and (attempt > 1 or self._crowded > 1)
            try:
                answer = self._send(message, (op + 1, group, command), timeout_s, gaps=gaps).wait()
            except BridgeError as error:
                if error.cause not in (Cause.TIMEOUT, Cause.GARBLED):
                    raise
                if attempt == retries:
                    times = "" if attempt == 0 else f"; asked {1 + attempt} times"
                    raise BridgeError(f"{error}{times}", error.cause) from None
            else:
                if len(message) > FRAME_BYTES:
                    self._crowded = self._crowded + 1 if gaps else 0
                return answer
            attempt += 1
            self.counters.repeated += 1
            time.sleep(back_off_s)
            back_off_s = min(2 * back_off_s, MOST_BACK_OFF_S)

    def read(
        self,
        group: int,
        command: int,
        payload: Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
        retries: int | None = None,
    ) -> dict[str, Any]:
        """`request` with the operation READ."""
        return self.request(OP.READ, group, command, payload, timeout_s=timeout_s, retries=retries)

    def write(
        self,
        group: int,
        command: int,
        payload: Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
        retries: int | None = None,
    ) -> dict[str, Any]:
        """`request` with the operation WRITE."""
        return self.request(OP.WRITE, group, command, payload, timeout_s=timeout_s, retries=retries)

    def post(
        self,
        op: OP,
        group: int,
        command: int,
        payload: Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> Reply:
        """Send a request without waiting for its answer, which `Reply.wait` gives: once, it is not sent again.

        At most `window` may be under way; a further one waits for one of them to end.

        :raises BridgeError: gone, invalid; timeout when there is no turn for it or the line takes no bytes
        """
        message = self._message(op, group, command, payload)
        return self._send(message, (op + 1, group, command), self.timeout_s if timeout_s is None else timeout_s)

    @property
    def window(self) -> int:
        """How many requests may be under way at once: the server needs a buffer for each, and two for answers."""
        return 2 if self.parameters.buffers >= 4 else 1

    @property
    def message_bytes(self) -> int:
        """The longest message that the server takes, with its header."""
        return self.parameters.buffer_bytes - OVERHEAD_BYTES

    def room(self, payload: Mapping[str, Any], member: str = "data") -> int:
        """How many bytes `member` may have in a message with this payload; 0 when not even the rest fits."""
        left = self.message_bytes - _HEADER.size - len(cbor2.dumps({**payload, member: b""})) + 1
        size = left
        while size > 0 and len(cbor2.dumps(bytes(size))) > left:
            size -= 1
        return max(0, size)

    def echo(self, text: str) -> str:
        """What the server echoes.

        :raises BridgeError: as `request`
        """
        answer = self.write(GroupId.OS_MANAGEMENT, CommandId.OSManagement.ECHO, {"d": text})
        return str(answer.get("r", ""))

    def reset(self) -> bool:
        """Ask the server to restart, once. False: it said nothing, as servers do that restart at once.

        :raises BridgeError: refused, unsupported, gone
        """
        try:
            self.write(GroupId.OS_MANAGEMENT, CommandId.OSManagement.RESET, retries=0)
        except BridgeError as error:
            if error.cause in (Cause.TIMEOUT, Cause.GARBLED):
                return False
            raise
        return True

    # --- sending ------------------------------------------------------------------------------------------------
    def _message(self, op: OP, group: int, command: int, payload: Mapping[str, Any] | None) -> bytearray:
        """The message, its sequence number still to be set."""
        data = cbor2.dumps(dict(payload or {}))
        message = bytearray(_HEADER.pack(op | _VERSION_2, 0, len(data), group, 0, command) + data)
        if len(message) > self.message_bytes:
            raise BridgeError(
                f"a message of {len(message)} bytes is too long for the microcontroller at {self.port}: it takes "
                f"{self.message_bytes}",
                Cause.INVALID,
            )
        return message

    def _send(
        self, message: bytearray, answers: tuple[int, int, int], timeout_s: float, *, gaps: bool = False
    ) -> Reply:
        deadline = time.monotonic() + timeout_s
        self._reap()
        slots = self._slots
        if not slots.acquire(timeout=timeout_s):
            raise BridgeError(f"the line to {self.port} is busy with other requests", Cause.TIMEOUT)
        with self._state:
            if self._lost is not None:
                slots.release()
                raise _again(self._lost)
            if not message[_SEQUENCE_AT] or message[_SEQUENCE_AT] in self._pending:
                message[_SEQUENCE_AT] = self._next_sequence()
            reply = Reply(self, message[_SEQUENCE_AT], answers, deadline, slots)
            self._pending[reply.sequence] = reply
        lines = frames(bytes(message))
        try:
            self._put(lines, deadline, min(GAP_S, timeout_s / 4 / len(lines)) if gaps else 0.0)
        except BaseException:
            self.forget(reply)
            raise
        self.counters.sent += 1
        return reply

    def _next_sequence(self) -> int:
        """A number that no request under way has; never 0, which stands for none yet."""
        while True:
            self._sequence = self._sequence % 255 + 1
            if self._sequence not in self._pending:
                return self._sequence

    def forget(self, reply: Reply) -> None:
        """Wait no longer for this answer."""
        with self._state:
            self._end(reply)

    def _end(self, reply: Reply) -> bool:
        """Take a request out of those under way; False when it no longer was."""
        if self._pending.get(reply.sequence) is not reply:
            return False
        del self._pending[reply.sequence]
        reply.slots.release()
        return True

    def _reap(self) -> None:
        """A posted request whose answer nobody waited for in time is not under way for ever."""
        now = time.monotonic()
        with self._state:
            for reply in [each for each in self._pending.values() if each.deadline < now]:
                self._end(reply)

    def _put(self, lines: list[bytes], deadline: float, gap_s: float) -> None:
        if not self._writing.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise BridgeError(f"the line to {self.port} is busy with other requests", Cause.TIMEOUT)
        try:
            for line in lines:
                self._write(line, deadline, gap_s)
        finally:
            self._writing.release()

    def _write(self, line: bytes, deadline: float, gap_s: float) -> None:
        second = BITS_PER_BYTE / self.baud
        if (early_s := self._wire_free - time.monotonic() - AHEAD_S) > 0:
            time.sleep(min(early_s, max(0.0, deadline - time.monotonic())))
        # Whatever was left of a line that could not be written whole must not become the begin of this one.
        left = (b"\n" if self._cut else b"") + line
        while left:
            if self._lost is not None or self._serial is None:
                raise _again(self._lost or _closed(self.port))
            try:
                left = left[os.write(self._serial.fileno(), left) :]
            except BlockingIOError:
                pass
            except OSError as error:
                self._lose(_gone(self.port, error))
                continue
            self._cut = bool(left)
            if not left:
                break
            wait_s = deadline - time.monotonic()
            if wait_s <= 0:
                raise BridgeError(
                    f"the microcontroller at {self.port} takes no bytes: check the cable, and that flow control is off",
                    Cause.TIMEOUT,
                )
            select.select([], [self._serial.fileno()], [], min(wait_s, CLOSING_S))
        self._wire_free = max(self._wire_free, time.monotonic()) + max(len(line) * second, gap_s)

    # --- receiving ----------------------------------------------------------------------------------------------

    def _read(self, line: int, wake: int) -> None:
        """The reader thread: until closed, or until the line is gone."""
        unframer = Unframer()
        poll = select.poll()
        poll.register(line, select.POLLIN)
        poll.register(wake, select.POLLIN)
        while wake not in dict(poll.poll()):
            try:
                data = os.read(line, READ_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                self._lose(_gone(self.port, error))
                return
            if not data:
                self._lose(_gone(self.port, None))
                return
            garbled = unframer.garbled
            for what in unframer.feed(data):
                if isinstance(what, bytes):
                    self._deliver(what)
                else:
                    self._tell(what)
            self.counters.garbled += unframer.garbled - garbled

    def _deliver(self, message: bytes) -> None:
        if len(message) < _HEADER.size:
            self.counters.garbled += 1
            return
        op, _flags, length, group, sequence, command = _HEADER.unpack_from(message)
        if length != len(message) - _HEADER.size:
            self.counters.garbled += 1
            return
        with self._state:
            reply = self._pending.get(sequence)
            expected = reply is not None and reply.answers == (op & _OPERATION, group, command)
            if reply is None or not expected or not self._end(reply):
                self.counters.unexpected += 1
                return
        self.counters.answered += 1
        reply.settle(message[_HEADER.size :])

    def _tell(self, text: str) -> None:
        self.counters.lines += 1
        if self._on_line is None:
            return
        try:
            self._on_line(text)
        except Exception:
            log.exception("the listener for lines of %s failed", self.port)

    def _lose(self, why: BridgeError) -> None:
        """From now on every request fails with this, until the link is opened again."""
        with self._state:
            if self._lost is None:
                self._lost = why
            pending = list(self._pending.values())
            for reply in pending:
                self._end(reply)
        for reply in pending:
            reply.settle(b"", why)

    def understand(self, payload: bytes) -> dict[str, Any]:
        """The map of an answer; the error in it, of either version of SMP, is raised.

        :raises BridgeError: refused, unsupported, garbled
        """
        try:
            answer = cbor2.loads(payload) if payload else {}
        except Exception as error:  # noqa: BLE001 - whatever the bytes of a stranger make of the decoder
            raise self._no_answer(f"{type(error).__name__}") from None
        if not isinstance(answer, dict):
            raise self._no_answer(f"a map was expected, not {type(answer).__name__}")
        if not _is_plain(answer):
            raise self._no_answer("it has more in it than numbers, text, bytes, lists and maps")
        match answer:
            case {"err": {"rc": rc, "group": group}} if is_number(rc) and is_number(group) and rc:
                raise self._refused(rc, group, answer)
            case {"rc": rc} if is_number(rc) and rc:
                raise self._refused(rc, None, answer)
        return answer

    def _no_answer(self, why: str) -> BridgeError:
        return BridgeError(
            f"the microcontroller at {self.port} answers with what is no CBOR map ({why}): is it an SMP server?",
            Cause.GARBLED,
        )

    def _refused(self, rc: int, group: int | None, answer: dict[str, Any]) -> BridgeError:
        who = f"the microcontroller at {self.port}"
        if group is None and rc == _NOT_SUPPORTED:
            return BridgeError(f"the firmware of {who} does not have this command", Cause.UNSUPPORTED, rc=rc)
        reason = answer.get("rsn")
        detail = f", {reason[:100]!r}" if isinstance(reason, str) else ""
        of = "" if group is None else f" of group {group}"
        message = f"{who} refuses: {error_name(rc, group)} (error {rc}{of}{detail})"
        return BridgeError(message, Cause.REFUSED, rc=rc, group=group)


def error_name(rc: int, group: int | None) -> str:
    """What the standard calls an error: of SMP itself, or of a group."""
    # The models that come with these names take longer to load than everything else here.
    from smp import error, file_management, image_management, os_management, settings_management

    names: dict[int | None, Any] = {
        None: error.MGMT_ERR,
        GroupId.OS_MANAGEMENT: os_management.OS_MGMT_RET_RC,
        GroupId.IMAGE_MANAGEMENT: image_management.IMG_MGMT_ERR,
        GroupId.FILE_MANAGEMENT: file_management.FS_MGMT_ERR,
        GroupId.SETTINGS_MANAGEMENT: settings_management.SETTINGS_MGMT_ERR,
    }
    try:
        return str(names[group](rc).name)
    except (KeyError, ValueError):
        return "an error without a name"


def is_number(value: Any) -> TypeGuard[int]:
    """Whether an answer holds a whole number there; a bool is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_plain(value: Any, depth: int = 0) -> bool:
    """What SMP is made of. CBOR can say more: numbers that take minutes to write down, things that hold themselves."""
    match value:
        case None | bool() | float() | str() | bytes():
            return True
        case int():
            return -1 << 64 <= value < 1 << 64
        case list():
            return depth < DEEPEST and all(_is_plain(each, depth + 1) for each in value)
        case dict():
            return depth < DEEPEST and all(
                isinstance(key, str | int) and _is_plain(key) and _is_plain(each, depth + 1)
                for key, each in value.items()
            )
    return False


def _again(error: BridgeError) -> BridgeError:
    """To be raised as often as one likes: an exception that is raised anew keeps every traceback that it had."""
    return BridgeError(str(error), error.cause)


def _closed(port: str) -> BridgeError:
    return BridgeError(f"the link to the microcontroller at {port} is not open", Cause.GONE)


def _gone(port: str, error: OSError | None) -> BridgeError:
    why = f" ({error.strerror})" if error and error.strerror else ""
    return BridgeError(f"the microcontroller at {port} was unplugged{why}: plug it in again", Cause.GONE)


def _open(port: str, baud: int) -> serial.Serial:
    try:
        opened = serial.Serial(port, baud, timeout=0, write_timeout=0, exclusive=True)
    except (OSError, ValueError, OverflowError, termios.error) as error:
        raise _fault(port, baud, error) from error
    keep_others_out(opened.fileno())
    return opened


def _fault(port: str, baud: int, error: Exception) -> BridgeError:
    who = f"the microcontroller at {port}"
    match getattr(error, "errno", None):
        case errno.ENOENT | errno.ENXIO | errno.ENODEV | errno.EIO:
            return BridgeError(
                f"{who} is not plugged in: plug it in, or correct its port (`kerbside devices` lists them)", Cause.GONE
            )
        case errno.EACCES | errno.EPERM:
            return BridgeError(
                f"{who} may not be opened by this user: add the user to the group of the port", Cause.LINE
            )
        case errno.EBUSY | errno.EAGAIN:
            return BridgeError(
                f"{who} is in use by another program: stop that one (`fuser {port}` names it)", Cause.BUSY
            )
    with contextlib.suppress(OSError):
        if not stat.S_ISCHR(Path(port).stat().st_mode):
            return BridgeError(f"{port} is not a serial port: correct it (`kerbside devices` lists them)", Cause.LINE)
    return BridgeError(f"{who} cannot be set up: {error}; expected a serial port that takes {baud} baud", Cause.LINE)
