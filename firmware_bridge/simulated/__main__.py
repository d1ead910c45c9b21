"""`python -m firmware_bridge.simulated`: a mount on a pseudo-terminal."""

from firmware_bridge.simulated.simulator import main

main()
