"""What follows once a decision is durable: tones for the driver, news for the uplink, and the core's effects."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, assert_never

from agent.cloud_requests import CloudRequests
from agent.containment import Containment
from agent.delivery.model.decision import Command, Effect, Feedback, Forget, Reply, Work
from agent.identity.seal import Sealer
from agent.journal.store import Journal
from agent.parts import Fitted
from agent.uplink.uplink import Uplink
from agent.workers import Workers


class Effects:
    """Whom the unit tells (`agent.unit.Listener`)."""

    def __init__(
        self,
        parts: Iterable[Fitted[Any]],
        uplink: Uplink,
        requests: CloudRequests,
        workers: Workers,
        sealer: Sealer,
        journal: Journal,
        containment: Containment,
    ) -> None:
        self._parts = tuple(part for part in parts if part.signal)
        self._uplink = uplink
        self._requests = requests
        self._workers = workers
        self._sealer = sealer
        self._journal = journal
        self._containment = containment

    def committed(self) -> None:
        """New events are durable: they can be sent."""
        self._uplink.wake()

    def feedback(self, feedback: Feedback, device: str | None) -> None:
        """Let the scanner that asked answer, and the mount sound every tone."""
        signals = [
            fitted.signal
            for fitted in self._parts
            if fitted.signal and (fitted.signals_all or fitted.part.name == device)
        ]
        self._containment.attempt_each("tones", signals, lambda signal: signal(feedback.tone))

    def carry_out(self, effect: Effect) -> None:
        """Hand an effect to who does it."""
        match effect:
            case Command():
                self._requests.command(effect)
            case Reply():
                self._requests.reply(effect)
            case Work():
                self._workers.start(effect)
            case Forget():
                self._sealer.forget(effect.scope)  # nor is an ended block's key kept in memory
            case _:
                assert_never(effect)

    def reloaded(self) -> None:
        """Keys that were not written are gone."""
        self._sealer.reload(self._journal.keys())
