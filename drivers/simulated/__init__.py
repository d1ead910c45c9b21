"""The devices of a vehicle without the hardware: what the demo and the tests plug in.

Everything here ends in something real: a pseudo-terminal that the scanner driver opens, one that a real gpsd reads,
a real Mosquitto.
"""

from drivers.simulated.mount import SimulatedMount
from drivers.simulated.receiver import SimulatedReceiver
from drivers.simulated.scanner import Signal, SimulatedScanner
from drivers.simulated.servers import Broker, Gpsd, ReservedPort, free_port
from drivers.simulated.ssi import SimulatedSsiScanner

__all__ = [
    "Broker",
    "Gpsd",
    "ReservedPort",
    "Signal",
    "SimulatedMount",
    "SimulatedReceiver",
    "SimulatedScanner",
    "SimulatedSsiScanner",
    "free_port",
]
