"""The other way to be a cluster, in virtual time: nodes around an engine of three servers, and what befalls those."""
