"""For those who subscribe: a reference consumer that checks what arrives. It stands on the contract alone."""
