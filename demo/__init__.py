"""A whole block on simulated devices: the stage that it runs on, the driver, and the play that checks the account."""
