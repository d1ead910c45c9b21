"""What may happen and what follows: each module decides about one part of the day and writes to a transaction."""
