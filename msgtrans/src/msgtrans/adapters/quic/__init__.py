"""QUIC (specification 2.3, 2.4): over UDP, all on one stream or a stream for each packet. Needs `msgtrans[quic]`."""
