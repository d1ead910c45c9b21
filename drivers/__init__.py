"""Drivers: each module turns one kind of device into readings and knows nothing of deliveries."""
