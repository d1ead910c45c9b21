"""What the delivery core talks about: the state, what comes in, what goes out, and questions that the state answers."""
