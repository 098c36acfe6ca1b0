"""The guard of the public API: what both distributions promise, recorded line by line, and what breaks it.

`python -m api check` compares, `python -m api write` renews the records. The code is read, never imported.
"""
