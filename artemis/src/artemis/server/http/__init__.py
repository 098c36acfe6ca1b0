"""The HTTP door: hot operations answered from the parser, everything else through ASGI on the same connection."""
