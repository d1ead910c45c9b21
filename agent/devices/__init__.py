"""Scanners and camera of the settings as parts of the agent: which driver serves which, and what readings become."""
