"""The room for what keeps a client connected: its state, and the attempts to connect. The face is `reconnecting`."""
