"""What every section of the settings is made of: the base class, and kinds of values that several sections have."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from agent.settings.addresses import split_address
from drivers.hotplug import Numbers


def valid_name(text: str) -> str:
    """A name that can be a level of a topic.

    :raises ValueError: it cannot
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text):
        raise ValueError('expected 1 to 64 letters, digits, ".", "_" or "-", a letter or digit first')
    return text


def valid_device(text: str) -> str:
    """What finds a device: its path or its numbers.

    :raises ValueError: it is neither
    """
    if not text.startswith("/") and Numbers.parse(text) is None:
        raise ValueError(
            'expected a path such as "/dev/serial/by-id/…", or the numbers "vendor:product" or "vendor:product:serial" '
            "(`kerbside devices` lists them)"
        )
    return text


def _address(text: str) -> str:
    split_address(text)
    return text


def _listed(value: object) -> object:
    """An environment variable holds a list as the shell does its paths."""
    if isinstance(value, str):
        return [part for part in value.split(os.pathsep) if part]
    if not isinstance(value, list | tuple):
        raise ValueError('expected a list of paths, such as ["/etc/kerbside/firmware.pem"]')  # noqa: TRY004
    return value


def empty_is_unset(value: object) -> object:
    """An environment variable cannot be unset by a file; an empty one can stand for nothing."""
    return None if value == "" else value


Name = Annotated[str, AfterValidator(valid_name)]
DeviceMatch = Annotated[str, AfterValidator(valid_device)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Metres = Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)]
OptionalText = Annotated[str | None, BeforeValidator(empty_is_unset)]
OptionalPath = Annotated[Path | None, BeforeValidator(empty_is_unset)]
Paths = Annotated[tuple[Path, ...], BeforeValidator(_listed)]
OptionalAddress = Annotated[Annotated[str, AfterValidator(_address)] | None, BeforeValidator(empty_is_unset)]


class Section(BaseModel):
    """One table of the settings file: frozen, and a key that it does not know is a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
