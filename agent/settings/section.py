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


def _listed_words(value: object) -> object:
    """An environment variable holds a list of words with commas between them."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, list | tuple):
        raise ValueError('expected a list of texts, such as ["10.0.0.7"]')  # noqa: TRY004
    return value


def one_line(value: object) -> object:
    """A text or path of a setting: one line of printable characters.

    :raises ValueError: it holds a control character, such as NUL or a line break
    """
    if isinstance(value, str) and not value.isprintable():
        raise ValueError("expected one line of printable characters")
    return value


def empty_is_unset(value: object) -> object:
    """An environment variable cannot be unset by a file; an empty one can stand for nothing."""
    return None if value == "" else value


Text = Annotated[str, Field(max_length=255), AfterValidator(one_line)]
FilePath = Annotated[Path, BeforeValidator(one_line)]
Name = Annotated[str, AfterValidator(valid_name)]
DeviceMatch = Annotated[Text, AfterValidator(valid_device)]
OptionalText = Annotated[Text | None, BeforeValidator(empty_is_unset)]
OptionalPath = Annotated[FilePath | None, BeforeValidator(empty_is_unset)]
Paths = Annotated[tuple[FilePath, ...], Field(max_length=32), BeforeValidator(_listed)]
Words = Annotated[tuple[Text, ...], Field(max_length=64), BeforeValidator(_listed_words)]
OptionalAddress = Annotated[Annotated[Text, AfterValidator(_address)] | None, BeforeValidator(empty_is_unset)]


class MisplacedError(ValueError):
    """What two keys mean together is wrong: says at which of them.

    :param key: the key below the table whose validator raises this: ``"key_file"``, ``"scanner[1].name"``
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


class Section(BaseModel):
    """One table of the settings file: frozen, and a key that it does not know is a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
