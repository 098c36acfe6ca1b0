"""One request and its answer: which attempts a call has, what travels, and which answers are worth anything."""
