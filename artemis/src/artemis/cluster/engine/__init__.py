"""The scale-out engine: many nodes around one bucket that keeps the records, in place of a mesh (design 4.1).

Everything here is pure: what a bucket says comes in as calls, what it is to do goes out as commands (`port`), and time
is an argument. Not here: the engine itself and its protocol (`artemis.cluster.nats`).
"""
