"""What the driver is shown of the deliveries: computed from the state, never kept in it."""
