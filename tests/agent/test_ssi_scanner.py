"""A scanner that speaks SSI in a whole unit: the beep is the verdict, and comes only when it can no longer be lost."""

from __future__ import annotations

from drivers.simulated import SimulatedSsiScanner
from tests.agent.running_agent import World, begin_loading, tracking_numbers, until

GOOD, REPEAT, BAD = b"\x00", b"\x01", b"\x07"


def test_a_parcel_is_loaded_by_an_ssi_scanner_and_what_beeped_survives_a_kill(world: World) -> None:
    first, second, unknown = tracking_numbers(3)
    scanner = world.stack.enter_context(SimulatedSsiScanner("hand"))
    agent = world.agent(scanner=[{"name": "hand", "kind": "ssi", "port": scanner.port}])
    agent.start_ready()
    begin_loading(world, agent, [first, second])

    def told(text: str) -> bytes | None:
        while scanner.next_signal(0):
            pass
        scanner.scan(text)
        signal = scanner.next_signal(10)
        return signal and signal.data

    assert told(first) == GOOD
    agent.kill()
    agent.start_ready()
    seen = until(agent.screen, lambda seen: seen["unit"]["parts"]["hand"]["state"] == "ready", "the scanner")
    assert [parcel["tracking_number"] for parcel in seen["parcels"] if parcel["state"] == "LOADED"] == [first]
    assert told(unknown) == BAD
    assert told(first) == REPEAT
    assert told(second) == GOOD
    assert scanner.decoder.transmit_errors == 0
