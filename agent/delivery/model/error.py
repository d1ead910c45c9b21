"""The one exception of the delivery core."""


class DeliveryError(Exception):
    """Something that cannot have happened: names the subject, its state and the event, or what is wrong with data."""
