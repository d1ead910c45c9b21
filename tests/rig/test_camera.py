"""A camera of the kernel (vivid) that is shown labels, and what becomes of it when it is pulled out or breaks down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import zxingcpp

from demo.stage import wait_until
from tests.agent.running_agent import tracking_numbers
from tests.rig.vehicle import SOON_S, Vehicle

pytestmark = pytest.mark.rig

WIDTH, HEIGHT = 1280, 720
"""What vivid gives of its own accord: it cannot be told otherwise once the agent has opened it, which is at once."""


def picture(number: str) -> bytes:
    """A label with a Code 128 as the camera sees it: YUYV, which has the luminance in every second byte."""
    luminance = np.full((HEIGHT, WIDTH), 235, np.uint8)
    symbol = zxingcpp.create_barcode(number, zxingcpp.BarcodeFormat.Code128)
    bars = np.array(zxingcpp.write_barcode_to_image(symbol, scale=4))
    luminance[100 : 100 + bars.shape[0], 100 : 100 + bars.shape[1]] = bars
    cv2.putText(luminance, number, (100, 600), cv2.FONT_HERSHEY_SIMPLEX, 2.0, 0, 3)
    return np.dstack((luminance, np.full_like(luminance, 128))).tobytes()


class VirtualCamera:
    """vivid, a camera whose far end is a video output."""

    def __init__(self, vehicle: Vehicle, folder: Path) -> None:
        self._vehicle = vehicle
        self._file = folder / "label.yuyv"
        self.path = "/dev/v4l/by-path/platform-vivid.0-video-index0"
        self.settings = {"source": self.path, "width": WIDTH, "height": HEIGHT, "fps": 5.0}
        # HDMI in and out of one width, without scaling: what is shown is what is seen.
        output = "num_outputs=1 output_types=1 ccs_out_mode=0"
        vehicle.sh(
            f"modprobe vivid n_devs=1 node_types=0x101 num_inputs=1 input_types=3 ccs_cap_mode=0 {output}",
            "udevadm settle",
        )
        self._connect()

    def _connect(self) -> None:
        self._vehicle.sh(
            "v4l2-ctl -d /dev/video0 --set-ctrl loop_video=1",
            f"v4l2-ctl -d /dev/video1 --set-fmt-video-out width={WIDTH},height={HEIGHT},pixelformat=YUYV",
        )

    def show(self, number: str) -> None:
        """Hold a label in front of it, and no other."""
        self.hide()
        self._file.write_bytes(picture(number))
        self._vehicle.machine.push(self._file, "/run/label.yuyv")
        stream = "v4l2-ctl -d /dev/video1 --stream-out-mmap=4 --stream-from=/run/label.yuyv --stream-loop"
        self._vehicle.sh(f"systemd-run --quiet --unit label {stream}")

    def hide(self) -> None:
        """Hold nothing in front of it."""
        self._vehicle.sh("systemctl stop label || true", "systemctl reset-failed label || true")

    def unplug(self) -> None:
        """Pull it out."""
        self.hide()
        self._vehicle.sh("echo vivid.0 > /sys/bus/platform/drivers/vivid/unbind")

    def plug(self) -> None:
        """Plug it in again."""
        self._vehicle.sh("echo vivid.0 > /sys/bus/platform/drivers/vivid/bind", "udevadm settle")
        self._connect()

    def trouble(self, control: str) -> None:
        """Let it break down by one of vivid's controls."""
        self._vehicle.sh(f"v4l2-ctl -d /dev/video0 --set-ctrl {control}")

    def remove(self) -> None:
        """Take it out of the guest's kernel."""
        self.hide()
        self._vehicle.sh("systemctl stop kerbside", "modprobe -r vivid")


@pytest.fixture
def camera(vehicle: Vehicle, tmp_path: Path) -> Iterator[VirtualCamera]:
    """A camera that is plugged in and sees nothing."""
    camera = VirtualCamera(vehicle, tmp_path)
    yield camera
    camera.remove()


def test_a_label_held_up_to_the_camera_is_one_scan(vehicle: Vehicle, camera: VirtualCamera) -> None:
    vehicle.configure(camera=camera.settings)
    vehicle.until("camera", "ready")
    vehicle.start_loading()
    first, second = tracking_numbers(2)
    camera.show(first)
    vehicle.until_scanned([first])
    camera.show(second)
    vehicle.until_scanned([second])
    assert vehicle.scans() == [("camera", first), ("camera", second)]


def test_a_camera_is_read_again_each_time_it_is_plugged_in(vehicle: Vehicle, camera: VirtualCamera) -> None:
    vehicle.configure(camera=camera.settings)
    vehicle.until("camera", "ready")
    vehicle.start_loading()
    numbers = tracking_numbers(3)
    for number in numbers:
        camera.unplug()
        vehicle.until("camera", "absent", camera.path)
        camera.plug()
        camera.show(number)
        vehicle.until("camera", "ready")
        vehicle.until_scanned([number])
    assert vehicle.scans() == [("camera", number) for number in numbers]


@pytest.mark.parametrize("control", ["disconnect=1", "inject_fatal_streaming_error=1"])
def test_a_camera_that_breaks_off_in_the_middle_is_opened_anew(
    vehicle: Vehicle, camera: VirtualCamera, control: str
) -> None:
    vehicle.configure(camera=camera.settings)
    vehicle.start_loading()
    first, second = tracking_numbers(2)
    camera.show(first)
    vehicle.until_scanned([first])
    camera.trouble(control)
    # It may be over before anybody looks at the screen: the log has it.
    wait_until(lambda: "gives no more pictures: check its plug" in vehicle.log(), "the fault", SOON_S)
    vehicle.until("camera", "ready")
    camera.show(second)
    vehicle.until_scanned([second])


def test_a_camera_that_gives_nothing_any_more_is_stale_and_then_faulty(vehicle: Vehicle, camera: VirtualCamera) -> None:
    vehicle.configure(camera=camera.settings)
    vehicle.until("camera", "ready")
    camera.trouble("percentage_of_dropped_buffers=100")
    vehicle.until("camera", "stale", "no picture")
    vehicle.until("camera", "faulty", "plug")
    (finding,) = [check for check in vehicle.kerbside("doctor")["checks"] if check["name"] == "camera"]
    assert finding["state"] != "ok" or "plugged" in finding["message"]
    camera.trouble("percentage_of_dropped_buffers=0")
    vehicle.until("camera", "ready")


def test_a_camera_that_another_program_uses_says_so(vehicle: Vehicle, camera: VirtualCamera) -> None:
    vehicle.sh("systemd-run --quiet --unit other v4l2-ctl -d /dev/video0 --stream-mmap")
    vehicle.configure(camera=camera.settings)
    vehicle.until("camera", "faulty", "in use by another program")
    vehicle.sh("systemctl stop other")
    vehicle.until("camera", "ready")


CLIP = """
import asyncio, sys
from pathlib import Path
from drivers.camera import Camera
async def main():
    camera = Camera(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), 5.0, ring_s=10.0)
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(camera.run(lambda frame: None, lambda state: None))
        while len(camera.ring) < 10:
            await asyncio.sleep(0.1)
        clip = await camera.clip(Path(sys.argv[4]), 10, 1)
        reading.cancel()
    print(clip.frames)
asyncio.run(main())
"""


def test_a_clip_of_the_last_seconds_can_be_played(vehicle: Vehicle, camera: VirtualCamera) -> None:
    if vehicle.tried("command -v ffprobe").returncode:
        pytest.skip("there is no ffmpeg in the virtual unit")
    vehicle.sh("systemctl stop kerbside", f"cat > /run/clip.py <<'END'\n{CLIP}END")
    python = "cd /opt/kerbside && runuser -u kerbside -- .venv/bin/python"
    frames = vehicle.sh(f"{python} /run/clip.py {camera.path} {WIDTH} {HEIGHT} /tmp/clip.mkv")
    entries = "stream=codec_name,width,height,nb_read_frames"
    probed = vehicle.sh(f"ffprobe -v error -count_frames -show_entries {entries} -of json /tmp/clip.mkv")
    (stream,) = json.loads(probed)["streams"]
    assert stream == {"codec_name": "mjpeg", "width": WIDTH, "height": HEIGHT, "nb_read_frames": frames}
    assert int(frames) >= 10
