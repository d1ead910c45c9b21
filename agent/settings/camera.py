"""Section `[camera]`: the camera that reads labels and takes photos."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from agent.settings.section import Section, empty_is_unset, one_line, valid_device

_SCHEMES: Final = frozenset({"http", "https", "rtsp", "rtsps"})


def _camera_source(text: str) -> str:
    if "://" in text:
        try:
            parts = urlsplit(text)
            host = parts.hostname or ""
            found = parts.scheme in _SCHEMES and parts.port != 0 and host != "" and not set(host) & set(" \\%")
        except ValueError:
            found = False
        if not found:
            raise ValueError(
                'expected a URL such as "rtsp://user:password@host/path" (http, https, rtsp or rtsps), with "/" in a '
                'password written as %2F, "?" as %3F, "#" as %23 and "@" as %40'
            )
    elif ":" in text and not text.startswith("/"):
        return valid_device(text)
    return text


_Source = Annotated[str, Field(max_length=2000), AfterValidator(one_line), AfterValidator(_camera_source)]


class CameraSettings(Section):
    """The camera that reads labels and takes photos."""

    source: Annotated[_Source | None, BeforeValidator(empty_is_unset)] = None
    """The stable path of a device, such as `/dev/v4l/by-id/…`, or its numbers, `vendor:product` or
    `vendor:product:serial`; or a file, a folder of pictures, or the URL of a stream (http, rtsp); unset: no camera."""
    width: Annotated[int, Field(ge=160, le=7680)] = 1280
    height: Annotated[int, Field(ge=120, le=4320)] = 720
    """Asked of a device, which may give another size; the camera's state says so."""
    fps: Annotated[float, Field(ge=0.1, le=240, allow_inf_nan=False)] = 10.0
    """Pictures a second, at most; asked of a device, too."""
    ring_s: Annotated[float, Field(ge=0, le=120, allow_inf_nan=False)] = 10.0
    """Seconds of pictures kept in memory, for clips; 0: none."""
    ring_max_bytes: Annotated[int, Field(ge=1_048_576, le=268_435_456)] = 33_554_432
    """The most memory that these pictures may take; what does not fit is forgotten sooner."""
    read_labels: bool = True
    """Whether labels in its pictures count as scans."""
