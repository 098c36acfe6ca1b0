"""The instances that a client keeps registered."""
