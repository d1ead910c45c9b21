"""The driver's page and its HTTP interface: who may ask, what is answered, and the stream of the screen."""
