"""WebSocket, client and server, plain and inside TLS (specification 2.2)."""
