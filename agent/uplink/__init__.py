"""The cloud's side of the unit: MQTT up and down, and what its messages look like."""
