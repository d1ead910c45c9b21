"""The mount: what its panel says, its restarts, updates of its firmware, and when its power says to shut down."""
