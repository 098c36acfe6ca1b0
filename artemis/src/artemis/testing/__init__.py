"""Help for tests: real nodes in processes of their own, and a client that behaves on the wire as the Java SDK does.

::

    from artemis.testing import running_cluster, running_node
    from artemis.testing.java import JavaClient

As fixtures for pytest: ``pytest_plugins = ["artemis.testing.fixtures"]``, see `artemis.testing.fixtures`.
What can befall a network is in `artemis.testing.links`, and what only a kernel can do in `artemis.testing.namespaces`;
`artemis.testing.histories` records what clients do and see, `artemis.testing.checker` judges it.
Needs ``artemis-registry[server]`` for nodes. Not for production: the Java-shaped client is a measuring instrument;
services use ``artemis.ArtemisClient``.
"""

from artemis.testing.clusters import RunningCluster, running_cluster, running_cluster_sync
from artemis.testing.node import NodeFailedError, OptionValue, RunningNode, running_node, running_node_sync

__all__ = [
    "NodeFailedError",
    "OptionValue",
    "RunningCluster",
    "RunningNode",
    "running_cluster",
    "running_cluster_sync",
    "running_node",
    "running_node_sync",
]
