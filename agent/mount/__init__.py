"""The mount: updates of its firmware, who may touch it, and what its panel says."""
