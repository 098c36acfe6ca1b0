"""The WebSocket door: the Java endpoints and the seed's `/ws` (spec 3, artemis-rust 2)."""
