"""Which nodes there are, and which of them a client talks to."""
