"""Operations that are not the node's own: plain functions of the node, a decoded request and the milliseconds.

A module per family. Each function returns a response and never raises for bad content.
Not here: register, heartbeat, unregister and the lookups, which are methods of `artemis.server.node.Node`.
"""
