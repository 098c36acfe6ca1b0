"""A demonstration with real parts: a node, a fleet of HTTP services that find each other through it, and outages."""
