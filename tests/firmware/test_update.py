"""Updates of a simulated mount: they end with the new or the old image running, whatever happens in between."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from firmware_bridge import images, update
from firmware_bridge import upload as upload_module
from firmware_bridge.errors import BridgeError
from firmware_bridge.images import Image
from firmware_bridge.link import OP, Link
from firmware_bridge.simulated.boot import Flash, Found, Slot
from firmware_bridge.simulated.mcu import CRASH, MUTE, NO_PANEL, PANEL_GROUP, Microcontroller
from firmware_bridge.simulated.simulator import Faults, Simulator
from firmware_bridge.update import Outcome, Progress, Result, Stage, Update, Wanted
from tests.firmware.signing import make_image, make_key, public_half
from tests.waiting import wait_until

SLOT_BYTES = 64 * 1024
BODY = bytes(range(256)) * 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("updates")


@pytest.fixture(scope="module")
def key(folder: Path) -> Path:
    return make_key(folder)


@pytest.fixture(scope="module")
def old(folder: Path, key: Path) -> Image:
    return images.read(make_image(folder, key=key, version="1.0.0", body=b"old" + BODY))


@pytest.fixture(scope="module")
def new(folder: Path, key: Path) -> Image:
    return images.read(make_image(folder, key=key, version="2.0.0", body=b"new" + BODY))


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update, "POLL_S", 0.05)
    monkeypatch.setattr(update, "RESTART_S", 1.0)
    monkeypatch.setattr(update, "PAUSES_S", (0.05, 0.05, 0.1))
    monkeypatch.setattr(upload_module, "PATIENCE_S", 3.0)


@dataclass
class Run:
    """A mount, the line to it, and what was told of an update."""

    simulator: Simulator
    link: Link
    notes: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    stages: list[Progress] = field(default_factory=list)

    def update(self, image: Image, **options: Any) -> Outcome:
        options = {"confirm_after_s": 0.3, "boot_s": 20.0} | options
        return self.see_through(Wanted.of(image), **options)

    def see_through(self, wanted: Wanted, **options: Any) -> Outcome:
        return Update(
            self.link, wanted, lambda *note: self.notes.append(note), progress=self.stages.append, **options
        ).run()

    @property
    def steps(self) -> list[str]:
        return [name.removeprefix("firmware.") for name, _ in self.notes]

    def running(self) -> str | None:
        """The version that runs once the mount is up."""
        wait_until(lambda: self.simulator.mcu.running, "the mount to run")
        running = self.simulator.mcu.running
        return running.version_text if running else None

    def after_a_restart(self) -> str | None:
        self.simulator.cut()
        time.sleep(self.simulator.off_s)
        return self.running()


@contextmanager
def mount(old: Image, **members: Any) -> Iterator[Run]:
    """A mount on which `old` runs; members go to the microcontroller, or to the simulated line."""
    flash = members.pop("flash", None) or Flash(slot_bytes=SLOT_BYTES)
    flash.install(old.content)
    line = {name: members.pop(name) for name in ("baud", "faults") if name in members}
    mcu = members.pop("mcu", Microcontroller)
    with Simulator(mcu(flash, **members), **line) as simulator:
        simulator.off_s = 0.1
        with Link(simulator.port, timeout_s=0.25, retries=3) as link:
            yield Run(simulator, link)


def test_an_update_uploads_tries_proves_and_keeps_the_new_image(old: Image, new: Image) -> None:
    with mount(old) as run:
        outcome = run.update(new)

        assert outcome == Outcome(Result.CONFIRMED, None, "2.0.0 runs, and stays", "2.0.0")
        assert run.steps == ["update_started", "uploaded", "test_started", "booted", "confirmed"]
        assert all(data["hash"] == new.hash.hex() and data["version"] == "2.0.0" for _, data in run.notes)
        assert run.after_a_restart() == "2.0.0"
    assert list(dict.fromkeys(each.stage for each in run.stages)) == [Stage.UPLOADING, Stage.RESTARTING, Stage.PROVING]
    sent = [each.done for each in run.stages if each.stage is Stage.UPLOADING]
    assert sent == sorted(sent)
    assert (sent[0], sent[-1]) == (0, len(new.content))


def test_an_image_that_runs_already_is_left_alone(old: Image) -> None:
    with mount(old) as run:
        outcome = run.update(old)

        assert outcome.result is Result.UNCHANGED
        assert run.notes == []
        assert run.simulator.mcu.resets == ["por"]


@pytest.mark.parametrize(
    "members",
    [
        {"buffer_bytes": 96},
        {"buffer_bytes": 2048},
        {"buffers": 2},
        {"version_1": True},
        {"checks_hash": False},
        {"lacks": frozenset({PANEL_GROUP})},
        {"lacks": frozenset({(0, 6), (0, 8), (1, 6)})},
        {"erase_s": 0.05, "swap_s": 0.02, "write_bytes_per_s": 60_000},
    ],
    ids=str,
)
def test_servers_of_every_kind_are_updated(old: Image, new: Image, members: dict[str, Any]) -> None:
    with mount(old, **members) as run:
        assert run.update(new).result is Result.CONFIRMED
        assert run.after_a_restart() == "2.0.0"


def test_an_image_that_the_boot_loader_refuses_is_reported_as_that(folder: Path, old: Image, new: Image) -> None:
    key_of_the_boot_loader = public_half(make_key(folder)).read_bytes()
    with mount(old, flash=_Picky(slot_bytes=SLOT_BYTES, keys=(key_of_the_boot_loader,))) as run:
        outcome = run.update(new)

        assert (outcome.result, outcome.reason) == (Result.REFUSED, "BOOT_LOADER")
        assert "refused by the boot loader" in outcome.message
        assert run.steps[-1] == "refused"
        assert run.running() == "1.0.0"


class _Picky(Flash):
    """A boot loader that checks what is to be started, and not what the factory has put there."""

    def fault(self, slot: Slot, *, installed: bool = False) -> str | None:
        return None if installed else super().fault(slot)


@pytest.mark.parametrize(("sickness", "reason"), [(NO_PANEL, "UNHEALTHY"), (MUTE, "NOT_CONFIRMED"), (CRASH, None)])
def test_an_image_that_is_not_well_is_taken_back(
    folder: Path, key: Path, old: Image, sickness: bytes, reason: str | None
) -> None:
    sick = images.read(make_image(folder, key=key, version="2.0.0", body=sickness + BODY))
    with mount(old, watchdog_s=0.5) as run:
        outcome = run.update(sick, confirm_after_s=1.0)

        assert outcome.result is Result.REVERTED
        assert outcome.reason in (reason or "NOT_CONFIRMED", reason or "UNHEALTHY")
        assert run.steps[-1] == "reverted"
        assert outcome.running == run.running() == "1.0.0"
        assert run.after_a_restart() == "1.0.0"


def test_an_image_that_waits_already_is_started_without_sending_it_again(old: Image, new: Image) -> None:
    with mount(old) as run:
        run.simulator.mcu.flash.secondary.data[: len(new.content)] = new.content
        run.simulator.mcu.flash.request(permanent=False)

        assert run.update(new).result is Result.CONFIRMED
        assert "uploaded" not in run.steps
        assert run.after_a_restart() == "2.0.0"


def test_a_mount_whose_image_may_not_be_started_now_keeps_the_old_one(old: Image, new: Image) -> None:
    with mount(old) as run:
        outcome = run.update(new, may_restart=lambda: ("MOVING", "the vehicle moves"))

        assert (outcome.result, outcome.reason, outcome.message) == (Result.REFUSED, "MOVING", "the vehicle moves")
        assert run.steps == ["update_started", "uploaded", "refused"]
        assert run.after_a_restart() == "1.0.0"


def test_a_boot_loader_without_trials_is_sent_nothing(old: Image, new: Image) -> None:
    with mount(old, mcu=_WithoutMarks, flash=_Forward(slot_bytes=SLOT_BYTES)) as run:
        outcome = run.update(new)

        assert (outcome.result, outcome.reason) == (Result.REFUSED, "WAY_BACK")
        assert "--without-return" in outcome.message
        assert run.simulator.seen.steps == 0
        assert run.after_a_restart() == "1.0.0"


def test_a_boot_loader_without_trials_can_be_updated_on_request(old: Image, new: Image) -> None:
    with mount(old, mcu=_WithoutMarks, flash=_Forward(slot_bytes=SLOT_BYTES)) as run:
        assert run.update(new, without_return=True).result is Result.CONFIRMED
        assert run.after_a_restart() == "2.0.0"


class _Forward(Flash):
    """A boot loader that starts the newest image, as those of direct execution do."""

    def boot(self) -> Found | None:
        here, there = self.primary.image, self.secondary.image
        if here and there and there.version > here.version:
            self.primary.data, self.secondary.data = self.secondary.data, self.primary.data
        return super().boot()


class _WithoutMarks(Microcontroller):
    def _answer(self, op: OP, group: int, command: int, data: Mapping[str, Any]) -> dict[str, Any]:
        self.lacks = frozenset({(1, 0)}) if op is OP.WRITE else frozenset()
        return super()._answer(op, group, command, data)


# --- what is refused for the moment ----------------------------------------------------------------------------------

ENOMEM, EBUSY, EBADSTATE = 2, 10, 6
RESET, STATE, UPLOAD, PANEL = (2, 0, 5), (2, 1, 0), (2, 1, 1), (0, PANEL_GROUP, 0)


@dataclass
class _Reluctant(Microcontroller):
    """Answers requests (operation, group, command) with these errors, one after the other; 0 is its own answer."""

    refuses: dict[tuple[int, int, int], list[int]] = field(default_factory=dict)

    def handle(self, op: int, version: int, group: int, command: int, data: bytes) -> dict[str, Any] | None:
        answers = self.refuses.get((op, group, command))
        if answers and (rc := answers.pop(0)):
            return {"rc": rc}
        return super().handle(op, version, group, command, data)


@pytest.mark.parametrize(
    "refuses",
    [
        {RESET: [EBUSY]},
        {STATE: [ENOMEM, 0, EBUSY, 0, ENOMEM, ENOMEM, 0]},
        {UPLOAD: [ENOMEM, 0, 0, EBUSY, EBUSY, 0, 0, 0, ENOMEM, 0]},
        {PANEL: [0, EBUSY, 0]},
    ],
    ids=["restart", "marks", "upload", "panel"],
)
def test_a_mount_that_is_busy_for_a_moment_is_asked_again(
    old: Image, new: Image, refuses: dict[Any, list[int]]
) -> None:
    with mount(old, mcu=_Reluctant, refuses=refuses) as run:
        assert run.update(new).result is Result.CONFIRMED
        assert not any(any(left) for left in refuses.values())
        assert run.after_a_restart() == "2.0.0"


def test_a_mount_that_never_has_room_for_the_image_is_given_up(
    old: Image, new: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_module, "MOST_PAUSE_S", 0.1)
    with mount(old, mcu=_Reluctant, refuses={UPLOAD: [0, *[ENOMEM] * 500]}) as run:
        outcome = run.update(new)

        assert (outcome.result, outcome.reason, outcome.running) == (Result.FAILED, "REFUSED", "1.0.0")
        assert run.after_a_restart() == "1.0.0"


def test_a_mount_that_refuses_to_restart_is_said_to_start_the_image_later(old: Image, new: Image) -> None:
    with mount(old, mcu=_Reluctant, refuses={RESET: [EBUSY] * 50}) as run:
        outcome = run.update(new)

        assert (outcome.result, outcome.reason, outcome.running) == (Result.FAILED, "REFUSED", "1.0.0")
        assert "2.0.0 starts at the next restart" in outcome.message
        assert run.after_a_restart() == "2.0.0"
        assert run.see_through(_left_behind(new, tried=True), confirm_after_s=0.3).result is Result.CONFIRMED
        assert run.after_a_restart() == "2.0.0"


def test_a_mount_that_refuses_to_keep_the_image_is_said_to_run_it_for_a_trial(old: Image, new: Image) -> None:
    with mount(old, mcu=_Reluctant, refuses={STATE: [0, 0, *[EBADSTATE] * 50]}) as run:
        outcome = run.update(new)

        assert (outcome.result, outcome.reason, outcome.running) == (Result.FAILED, "REFUSED", "2.0.0")
        assert "2.0.0 runs for a trial" in outcome.message
        assert run.after_a_restart() == "1.0.0"


# --- what gets lost --------------------------------------------------------------------------------------------------


def test_lost_and_corrupted_frames_only_cost_time(old: Image, new: Image) -> None:
    faults = Faults(loss=0.03, corruption=0.01, double=0.01, text=0.05, seed=7)
    with mount(old, faults=faults) as run:
        assert run.update(new, confirm_after_s=1.0).result is Result.CONFIRMED
        assert run.after_a_restart() == "2.0.0"


def test_a_cable_that_is_pulled_and_plugged_in_again_is_waited_for(old: Image, new: Image) -> None:
    with mount(old, baud=115_200) as run:
        for at_s in (0.3, 0.9):
            threading.Timer(at_s, run.simulator.unplug).start()
            threading.Timer(at_s + 0.3, run.simulator.plug).start()

        assert run.update(new).result is Result.CONFIRMED
        assert run.simulator.seen.received_bytes < 3 * len(new.content)


def test_a_cable_that_is_pulled_while_the_image_is_on_trial_does_not_cost_it(old: Image, new: Image) -> None:
    with mount(old) as run:

        def pull(progress: Progress) -> None:
            if progress.stage is Stage.PROVING and not run.stages:
                run.stages.append(progress)
                run.simulator.unplug()
                threading.Timer(1.0, run.simulator.plug).start()

        outcome = Update(run.link, Wanted.of(new), lambda *_: None, progress=pull, confirm_after_s=1.0).run()

        assert run.stages
        assert outcome.result is Result.CONFIRMED


def test_an_upload_that_broke_off_goes_on_where_it_was(old: Image, new: Image) -> None:
    with mount(old, baud=115_200) as run:
        threading.Timer(0.5, run.link.close).start()
        with pytest.raises(BridgeError):
            upload_module.upload(run.link, new.content, lambda _sent: None)
        taken = run.simulator.mcu._upload.offset
        before = run.simulator.seen.received_bytes

        run.link.open()
        assert upload_module.upload(run.link, new.content, lambda _sent: None)

        assert taken > 1000
        assert run.simulator.seen.received_bytes - before < 1.7 * (len(new.content) - taken) + 1000


def test_a_mount_that_never_comes_back_is_given_up(old: Image, new: Image) -> None:
    with mount(old) as run:
        run.simulator.off_s = 60
        run.simulator.cut_at_byte(3000)
        outcome = run.update(new, boot_s=2.0)

        assert outcome.result is Result.FAILED
        assert "switch its power off and on" in outcome.message
        assert run.steps[-1] == "failed"


def _every_step(old: Image, new: Image) -> int:
    """How many steps of the flash a whole update takes."""
    with mount(old) as run:
        assert run.update(new).result is Result.CONFIRMED
        return run.simulator.seen.steps


def test_the_power_may_go_at_every_step_of_the_flash(old: Image, new: Image) -> None:
    """Erasing, each piece of writing, marking, each sector of the swap, confirming."""
    steps = _every_step(old, new)
    chosen = sorted({*range(1, steps + 1, 4), *range(steps - 22, steps + 1)})
    assert len(chosen) >= 30

    def cut(step: int) -> tuple[int, str]:
        with mount(old) as run:
            run.simulator.cut_at_step(step)
            return step, _fate(run, new)

    with ThreadPoolExecutor(12) as pool:
        fates = dict(pool.map(cut, chosen))

    assert {step: fate for step, fate in fates.items() if not fate.startswith("ended")} == {}
    # A cut that costs the trial takes the old image back; all others are survived.
    assert "ended confirmed" in fates.values()


def test_the_power_may_go_at_any_byte_on_the_line(old: Image, new: Image) -> None:
    with mount(old) as run:
        assert run.update(new).result is Result.CONFIRMED
        whole = run.simulator.seen.received_bytes

    def cut(byte: int) -> tuple[int, str]:
        with mount(old) as run:
            run.simulator.pulls_line = byte % 2 == 0
            run.simulator.cut_at_byte(byte)
            return byte, _fate(run, new)

    with ThreadPoolExecutor(12) as pool:
        fates = dict(pool.map(cut, range(50, whole, whole // 36)))

    assert len(fates) >= 30
    assert {byte: fate for byte, fate in fates.items() if not fate.startswith("ended")} == {}


def _fate(run: Run, new: Image) -> str:
    """How an update ended, if all that is told of it is true."""
    outcome = run.update(new)
    if len(run.simulator.seen.cuts) != 1:
        return "the power was not cut"
    if run.steps[0] != "update_started" or run.steps[-1] != outcome.result:
        return f"told {run.steps}, came to {outcome}"
    expected = {Result.CONFIRMED: "2.0.0", Result.REVERTED: "1.0.0"}.get(outcome.result)
    running = run.running(), run.after_a_restart()
    return f"ended {outcome.result}" if running == (expected, expected) else f"{outcome}, but {running} runs"


# --- what a later process finds --------------------------------------------------------------------------------------


def _left_behind(new: Image, tried: bool) -> Wanted:
    return Wanted(str(new.version), new.hash, panel=True, tried=tried)


class _DiedError(Exception):
    pass


@pytest.mark.parametrize(
    ("last_step", "result", "runs"),
    [
        ("update_started", Result.FAILED, "1.0.0"),
        ("uploaded", Result.FAILED, "1.0.0"),
        ("booted", Result.CONFIRMED, "2.0.0"),
        ("confirmed", Result.CONFIRMED, "2.0.0"),
    ],
)
def test_an_update_whose_process_died_is_seen_through_by_the_next(
    old: Image, new: Image, last_step: str, result: Result, runs: str
) -> None:
    with mount(old) as run:

        def note(name: str, _data: Mapping[str, Any]) -> None:
            if name == f"firmware.{last_step}":
                raise _DiedError

        with pytest.raises(_DiedError):
            Update(run.link, Wanted.of(new), note, confirm_after_s=0.3).run()

        outcome = run.see_through(_left_behind(new, last_step in ("booted", "confirmed")), confirm_after_s=0.3)

        assert outcome.result is result
        assert run.steps[-1] == result
        assert run.after_a_restart() == runs


def test_a_trial_that_ended_while_nobody_looked_is_reported(old: Image, new: Image) -> None:
    with mount(old) as run:
        run.simulator.mcu.flash.secondary.data[: len(new.content)] = new.content
        outcome = run.see_through(_left_behind(new, tried=True))

        assert (outcome.result, outcome.reason) == (Result.REVERTED, "NOT_CONFIRMED")


@pytest.mark.parametrize("kept_in_a_slot", [True, False])
def test_an_image_that_ran_for_a_trial_is_not_said_to_have_never_come_up(
    old: Image, new: Image, kept_in_a_slot: bool
) -> None:
    with mount(old) as run:
        if kept_in_a_slot:
            run.simulator.mcu.flash.secondary.data[: len(new.content)] = new.content
        outcome = run.see_through(Wanted("2.0.0", new.hash, panel=True, tried=True, booted=True))

        assert (outcome.result, outcome.reason, outcome.running) == (Result.REVERTED, "NOT_CONFIRMED", "1.0.0")
        assert "2.0.0 ran for a trial and was not confirmed" in outcome.message


def test_an_image_that_waits_for_a_restart_is_not_started_in_the_middle_of_a_block(old: Image, new: Image) -> None:
    with mount(old) as run:
        run.simulator.mcu.flash.secondary.data[: len(new.content)] = new.content
        run.simulator.mcu.flash.request(permanent=False)

        outcome = run.see_through(_left_behind(new, True), may_restart=lambda: ("BLOCK_ACTIVE", "block B1 is active"))

        assert outcome.result is Result.WAITING
        assert run.notes == []
        assert run.running() == "1.0.0"

        assert run.see_through(_left_behind(new, True), confirm_after_s=0.3).result is Result.CONFIRMED
        assert run.after_a_restart() == "2.0.0"
