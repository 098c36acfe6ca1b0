"""What stays open between a client and its node so that the node can push, and which of the ways there are is used."""
