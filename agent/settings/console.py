"""Section `[console]`: the driver's screen and its HTTP API."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, model_validator

from agent.settings.addresses import is_loopback, split_address
from agent.settings.section import MisplacedError, OptionalAddress, Section, Text


def _loopback_address(text: str) -> str:
    host, _ = split_address(text)
    if not is_loopback(host):
        raise ValueError("expected an address of the unit itself, such as 127.0.0.1:8321 (phones use phone_listen)")
    return text


class ConsoleSettings(Section):
    """The driver's screen and its HTTP API."""

    listen: Annotated[Text, AfterValidator(_loopback_address)] = "127.0.0.1:8321"
    """Where the unit itself finds it; port 0 takes any free one."""
    phone_listen: OptionalAddress = None
    """Where paired phones find it; unset: nowhere."""

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        port = split_address(self.listen)[1]
        if self.phone_listen is not None and port and split_address(self.phone_listen)[1] == port:
            raise MisplacedError(
                "phone_listen", f"expected another port than that of listen, got {port} for both: set another"
            )
        return self
