"""Pictures for the tests: symbols drawn by zxing-cpp's writer, put on paper by numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import zxingcpp


def symbol(text: str, name: str = "Code128", *, scale: int = 3, gs1: bool = False) -> Any:
    """A grey picture of one symbol with a quiet zone."""
    options = {"gs1": True} if gs1 else {}
    drawn = zxingcpp.create_barcode(text, getattr(zxingcpp.BarcodeFormat, name), **options).to_image(scale=scale)
    return np.pad(np.array(drawn), 30, constant_values=255)


def turned(picture: Any, degrees: float) -> Any:
    """The picture turned anticlockwise, on paper that holds it whole."""
    height, width = picture.shape
    side = int(np.hypot(height, width)) + 20
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    matrix[:, 2] += ((side - width) / 2, (side - height) / 2)
    return cv2.warpAffine(picture, matrix, (side, side), flags=cv2.INTER_AREA, borderValue=255)


def page(*symbols: Any) -> Any:
    """Symbols one below the other on one white page, BGR."""
    width = max(picture.shape[1] for picture in symbols)
    rows = [np.pad(picture, ((0, 0), (0, width - picture.shape[1])), constant_values=255) for picture in symbols]
    return cv2.cvtColor(np.vstack(rows), cv2.COLOR_GRAY2BGR)


def save(path: Path, picture: Any) -> Path:
    """Write the picture in the format of the file name's ending."""
    assert cv2.imwrite(str(path), picture)
    return path
