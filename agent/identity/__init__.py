"""The unit's own keys: secrets are sealed with them where they are kept, and opened only where they are needed."""
