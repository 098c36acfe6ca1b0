"""Help for tests: a real node in a process of its own, and a client that behaves on the wire as the Java SDK does.

::

    from artemis.testing import running_node
    from artemis.testing.java import JavaClient

As fixtures for pytest: ``pytest_plugins = ["artemis.testing.fixtures"]``, see `artemis.testing.fixtures`.
Needs ``artemis-registry[server]`` for the node. Not for production: the Java-shaped client is a measuring instrument;
services use ``artemis.ArtemisClient``.
"""

from artemis.testing.node import NodeFailedError, OptionValue, RunningNode, running_node, running_node_sync

__all__ = ["NodeFailedError", "OptionValue", "RunningNode", "running_node", "running_node_sync"]
