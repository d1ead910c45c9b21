"""Scanners: hand-held and fixed readers on a serial line."""
