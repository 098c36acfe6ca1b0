"""Move messages: one API over several transports."""
