"""The operator's command line, ``artemis``: ask a registry, register by hand, run a node, watch a demonstration.

Exit codes, the same for every command: 0 it worked; 1 a node answered, and the answer is no (or the command itself
failed); 2 the command line is wrong, or something has to be installed first; 3 no node answered.
"""
