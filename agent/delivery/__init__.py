"""The delivery core: what a block, its stops and parcels are, what may happen to them, and what follows.

Pure: no I/O, no threads, no clock, no random. `decide` turns an input and a moment into events and feedback, `evolve`
turns the log into the state; everything around them is the shell.
"""
