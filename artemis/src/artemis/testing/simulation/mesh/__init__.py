"""One way to be a cluster, in virtual time: nodes that are linked to each other, and what befalls those links."""
