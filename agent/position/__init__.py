"""Where the vehicle is: fixes become trusted time, the way driven, samples for the cloud and the core's `Located`."""
