"""Everything that the driver's screen shows, as ``GET /api/state`` gives it. Secrets are opened here only."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from agent import __version__, words
from agent.clock import Clock
from agent.delivery.model.decision import Answer, Refusal
from agent.delivery.model.inputs import Moment
from agent.delivery.model.scopes import MESSAGES, ROSTER, scope_of_block
from agent.delivery.screen.view import without_phone
from agent.delivery.screen.zone import zone_of
from agent.identity.seal import Sealer
from agent.journal.store import Journal
from agent.parts import PartsShown
from agent.settings import UnitSettings
from agent.unit import Unit
from agent.uplink.uplink import Uplink
from agent.words import Calendar

VIEW_EVERY_S = 0.1
"""The screen is redrawn at most this often."""


class ScreenState:
    """The unit as the driver's screen sees it (`agent.console.backend.Backend`).

    :param parts: states of the parts that the agent runs
    :param act: carries out a driver's action
    :param examine: checks the unit, in a thread: the document of ``kerbside doctor --json``
    :param extra: what else the member `unit` shows, each by its name
    """

    def __init__(
        self,
        settings: UnitSettings,
        unit: Unit,
        uplink: Uplink,
        journal: Journal,
        clock: Clock,
        sealer: Sealer,
        *,
        parts: Callable[[], PartsShown],
        act: Callable[[str, Mapping[str, Any]], Awaitable[Answer]],
        examine: Callable[[], dict[str, Any]],
        extra: Mapping[str, Callable[[], dict[str, Any] | None]],
    ) -> None:
        self._settings = settings
        self._unit = unit
        self._uplink = uplink
        self._journal = journal
        self._clock = clock
        self._sealer = sealer
        self._parts = parts
        self._act = act
        self._examine = examine
        self._examination: asyncio.Task[dict[str, Any]] | None = None
        self._extra = extra

    def view(self) -> dict[str, Any]:
        """All of ``GET /api/state``. What cannot be shown is left out, and told as a part."""
        moment, attempt = self._clock.now(), self._unit.containment.attempt
        deliveries = self._unit.view()
        attempt("secrets", lambda: self._open_secrets(deliveries), None)
        attempt("words", lambda: self._put_into_words(deliveries, moment), None)
        status = attempt("journal", self._journal.status, {})
        return {
            "unit": {
                "id": self._settings.id,
                "fleet": self._settings.fleet,
                "version": __version__,
                **attempt("uplink", self._link, {"online": False}),
                "sequence": status.get("sequence"),
                "backlog": status.get("backlog"),
                "clock": {"time": moment.time, "trust": moment.trust},
                **{name: attempt(name, show, None) for name, show in self._extra.items()},
                "parts": attempt("parts", self._parts, {}),
            },
            **deliveries,
            "feedback": attempt("last feedback", lambda: self._feedback(moment), None),
        }

    def health(self) -> list[str]:
        """What is wrong with the agent itself, for ``GET /healthz``; nothing where all is well.

        It tries all that is shown, since what nobody looks at fails unseen. Devices that are missing are not meant.
        """
        self.view()
        failing = [f"{place} cannot be shown or told" for place in self._unit.containment.failing]
        return failing if self._unit.is_keeping else ["the journal cannot be written", *failing]

    async def act(self, action: str, arguments: Mapping[str, Any]) -> Answer:
        """Carry out a driver's action."""
        answer = await self._act(action, arguments)
        if (refusal := answer.refusal) is None:
            return answer
        message = self._unit.containment.attempt("refusals", lambda: self._why(refusal), refusal.reason)
        return replace(answer, message=message)

    async def checkup(self) -> dict[str, Any]:
        """All of ``GET /api/checkup``. Whoever asks while the unit is being checked gets the same result."""
        if self._examination is None or self._examination.done():
            self._examination = asyncio.create_task(asyncio.to_thread(self._examine), name="check-up")
        return await asyncio.shield(self._examination)

    @contextlib.asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Views from now on, one a change, the first at once."""

        async def views(changed: asyncio.Event) -> AsyncIterator[dict[str, Any]]:
            while True:
                changed.clear()
                yield self.view()
                await asyncio.sleep(VIEW_EVERY_S)
                await changed.wait()

        async with self._unit.watch() as changed:
            yield views(changed)

    def _why(self, refusal: Refusal) -> str:
        params = self._opened(refusal.params)
        return words.refusal(replace(refusal, params=params), calendar=self._calendar(self._clock.now(), params))

    def _link(self) -> dict[str, Any]:
        return {"online": self._uplink.state.online}

    def _feedback(self, moment: Moment) -> dict[str, Any] | None:
        if self._unit.last_feedback is None:
            return None
        feedback, time = self._unit.last_feedback
        feedback = replace(feedback, params=self._opened(feedback.params))
        calendar = self._calendar(moment, feedback.params)
        return {**words.feedback(feedback, calendar=calendar), "time": time}

    def _calendar(self, moment: Moment, about: Mapping[str, Any]) -> Calendar:
        """By whose clock times are told of something that names its block or offer."""
        zone = zone_of(self._unit.state, about.get("block_id"), about.get("offer_id"))
        return Calendar.at(zone, moment.wall_ms if moment.is_trusted else None)

    def _put_into_words(self, deliveries: dict[str, Any], moment: Moment) -> None:
        """Add what is read and what the core says in codes and times only."""
        if (prompt := deliveries["prompt"]) is not None:
            calendar = self._calendar(moment, prompt["params"])
            prompt["text"] = words.prompt(prompt["code"], prompt["params"], calendar=calendar)
        for one in (*deliveries["offers"], *deliveries["conflicts"]):
            one["hours"] = words.hours(one["starts_at"], one["ends_at"], self._calendar(moment, one))
        for advisory in deliveries["advisories"]:
            advisory["hours"] = words.hours(advisory["valid_from"], advisory["valid_to"], self._calendar(moment, {}))
        if (block := deliveries["block"]) is None:
            return
        calendar = self._calendar(moment, block)
        block["hours"] = words.hours(block.get("starts_at"), block.get("ends_at"), calendar)
        current = deliveries["current_stop"]
        for stop in (*deliveries["stops"], *([] if current is None else [current])):
            window = stop["window"] or {}
            stop["hours"] = words.hours(window.get("from"), window.get("to"), calendar)

    def _open_secrets(self, deliveries: dict[str, Any]) -> None:
        """Put in what the core knows only sealed, but no telephone numbers. Of an ended block nothing can be opened."""
        if (driver := deliveries["driver"]) is not None:
            driver["name"] = self._sealer.opened(ROSTER, driver["name"])
        for told in (*deliveries["messages"], *deliveries["recipient_feedback"]):
            told["text"] = self._sealer.opened(MESSAGES, told.get("text"))
        if (block := deliveries["block"]) is None:
            return
        opened = partial(self._sealer.opened, scope_of_block(block["block_id"]))
        stop, prompt = deliveries["current_stop"], deliveries["prompt"]
        if prompt is not None:
            prompt["params"] = opened(prompt["params"])
        for each in (*deliveries["stops"], *([] if stop is None else [stop])):
            each["address"] = opened(each["address"])
        # The core draws only those parcels anew that have changed, so that these are copied.
        deliveries["parcels"] = [
            parcel | {"instruction": parcel["instruction"] | {"text": opened(parcel["instruction"]["text"])}}
            if parcel["instruction"]["text"]
            else parcel
            for parcel in deliveries["parcels"]
        ]
        if stop is not None:
            stop["recipient"] = without_phone(opened(stop["recipient"]))
            stop["neighbour"] = without_phone(opened(stop["neighbour"]))
            # One that was sealed by an earlier version is a text, others are lists. Parcels of one door share theirs.
            codes = [opened(sealed) for sealed in stop["access_codes"]]
            each_once = dict.fromkeys(
                code for some in codes if some is not None for code in ([some] if isinstance(some, str) else some)
            )
            stop["access_codes"] = [*each_once]

    def _opened(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """What feedback or a refusal says, with what the core knows only sealed: a text of dispatch, or an address."""
        block = self._unit.state.block
        scope = scope_of_block(params.get("block_id") or (block.block_id if block is not None else ""))
        return {
            name: self._sealer.opened(MESSAGES if name == "text" else scope, value) for name, value in params.items()
        }
