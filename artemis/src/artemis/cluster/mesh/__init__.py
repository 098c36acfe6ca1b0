"""The links between the nodes of a cluster: who may join, what proves it, and how messages travel (design 4.1 "Links").

A node dials every peer and sends on what it dialled; it receives on what it accepted. `handshake`, `wire`, `queue` and
`pauses` are pure, `dialler` and `mesh` move bytes. Not here: what the messages mean (`artemis.cluster.replica`), and
who is a member (`artemis.cluster.members`).
"""
