"""How the log becomes the state: each module applies the events or messages about one thing."""
