"""A mount without its hardware: boot loader, microcontroller, and the line to it."""
