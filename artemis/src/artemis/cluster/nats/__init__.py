"""The scale-out engine over NATS JetStream: how a node's core (`artemis.cluster.engine`) reaches the cluster's bucket.

`carrier` is the whole; `connection` has one connection to one server, `bucket` finds or creates the bucket, `puts` and
`following` decide what becomes of puts and of what is read, `consumer` reads, `beats` says what no bucket keeps. Needs
the extra `nats`. Not here: what entries mean, and who is a member.
"""
