"""For those who subscribe: a reference consumer that checks what arrives. It imports nothing of the agent."""
