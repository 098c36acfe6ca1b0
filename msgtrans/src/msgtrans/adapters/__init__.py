"""The room for what carries sessions: one module per transport, and the port that tells transports apart."""
