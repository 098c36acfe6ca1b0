"""The cluster: nodes that hold the same records, stay available in every partition and converge after it (design 4.1).

Its decisions are pure: `replica` and what it is made of take messages and time and give messages. Its links, in `mesh`,
only carry them.
"""
