"""Kerbside, the agent that lives in a delivery vehicle."""

__version__ = "0.1.0"
