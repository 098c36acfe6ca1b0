"""Which instance the next request goes to: route rules, strategies, and who is left out for a while. Pure code."""
