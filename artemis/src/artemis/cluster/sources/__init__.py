"""Where lists of nodes come from beside the configuration: a name in DNS, a file.

Each source is read, again and again, by a blocking call that returns what it says at that moment; `listing` decides
what of that applies. Not here: who calls them, and what becomes of a list (`artemis.server`).
"""
