"""Cameras of a network for the tests: one that speaks HTTP and can misbehave, and one that speaks RTSP with real video.

Both hold a TCP port of the loopback. The HTTP one sends what the test wants, whole or not; the RTSP one passes on the
RTP packets of a real encoder (Debian's ffmpeg) inside its own connection, as network cameras do.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Callable
from typing import Self

USER = "operator:secret"


class HttpCamera:
    """Sends ``multipart/x-mixed-replace``: `part(n)` is the n-th body of a connection, ``None`` is silence for ever."""

    def __init__(self, part: Callable[[int], bytes | None], period_s: float = 0.02) -> None:
        self.part = part
        self.period_s = period_s
        self.sent = 0
        self.connections = 0
        self._port = 0
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://{USER}@127.0.0.1:{self._port}/live.mjpg?key=hidden"

    async def __aenter__(self) -> Self:
        await self.turn_on()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.turn_off()

    async def turn_on(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def turn_off(self) -> None:
        """As when its plug is pulled: the port is gone, and whoever was connected is cut off."""
        if self._server:
            self._server.close()
            for task in self._serving:
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.add(task := asyncio.current_task())  # type: ignore[arg-type]
        self.connections += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n")
                number = 0
                while (content := self.part(number)) is not None:
                    head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(content)
                    writer.write(head + content + b"\r\n")
                    await writer.drain()
                    number += 1
                    self.sent += 1
                    await asyncio.sleep(self.period_s)
                await reader.read()
        finally:
            self._serving.discard(task)  # type: ignore[arg-type]
            writer.transport.abort()


@contextlib.asynccontextmanager
async def rtsp_camera(codec: str, size: str = "320x240", rate: int = 10) -> AsyncIterator[str]:
    """The URL of a camera that gives a moving test picture as ``h264`` or ``mjpeg``, while the block runs."""
    options = {
        "h264": ["libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", str(rate)],
        "mjpeg": ["mjpeg", "-huffman", "default", "-q:v", "5", "-pix_fmt", "yuvj420p"],
    }[codec]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as media:
        media.bind(("127.0.0.1", 0))
        media.setblocking(False)
        port = media.getsockname()[1]
        encoder = await asyncio.create_subprocess_exec(
            *("nice", "ffmpeg", "-nostdin", "-loglevel", "error", "-re", "-f", "lavfi"),
            *("-i", f"testsrc2=size={size}:rate={rate}", "-c:v", *options, "-f", "rtp", f"rtp://127.0.0.1:{port}"),
            stdout=asyncio.subprocess.PIPE,
        )
        assert encoder.stdout
        try:
            server = _Rtsp(media, await _description(encoder.stdout))
            asyncio.get_running_loop().add_reader(media, server.forward)
            listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
            yield f"rtsp://{USER}@127.0.0.1:{listening.sockets[0].getsockname()[1]}/live"
            listening.close()
        finally:
            asyncio.get_running_loop().remove_reader(media)
            encoder.kill()
            await encoder.wait()


async def _description(stdout: asyncio.StreamReader) -> bytes:
    """The SDP that the encoder prints; what it says after a silence of a moment is no part of it."""
    said = await asyncio.wait_for(stdout.readline(), 20)
    with contextlib.suppress(TimeoutError):
        while line := await asyncio.wait_for(stdout.readline(), 0.5):
            said += line
    said = said.removeprefix(b"SDP:\n")
    return re.sub(rb"m=video \d+", b"m=video 0", said).strip() + b"\r\na=control:video\r\n"


class _Rtsp:
    """RFC 2326 with interleaved media, as far as a player asks."""

    def __init__(self, media: socket.socket, description: bytes) -> None:
        self._media = media
        self._description = description
        self._playing: set[asyncio.StreamWriter] = set()

    def forward(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while packet := self._media.recv(65_536):
                for writer in self._playing:
                    writer.write(b"$\0" + len(packet).to_bytes(2, "big") + packet)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                if (first := await reader.readexactly(1)) == b"$":  # a report of the player
                    head = await reader.readexactly(3)
                    await reader.readexactly(int.from_bytes(head[1:], "big"))
                    continue
                asked = (first + await reader.readuntil(b"\r\n\r\n")).decode()
                method = asked.split()[0]
                answer = f"RTSP/1.0 200 OK\r\nCSeq: {re.search(r'CSeq: *([0-9]+)', asked)[1]}\r\nSession: 1\r\n"  # type: ignore[index]
                body = b""
                if method == "OPTIONS":
                    answer += "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
                elif method == "DESCRIBE":
                    body = self._description
                    answer += f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
                elif method == "SETUP":
                    answer += "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
                writer.write(answer.encode() + b"\r\n" + body)
                if method == "PLAY":
                    self._playing.add(writer)
                elif method == "TEARDOWN":
                    break
        self._playing.discard(writer)
        writer.transport.abort()
