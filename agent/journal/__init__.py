"""The one durable store: what happened, what was received, and how much of it the cloud has; with its recovery."""
