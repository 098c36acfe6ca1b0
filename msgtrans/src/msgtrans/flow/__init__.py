"""The room for what paces things: retries, rates, batches. Plain code; time and randomness come in as arguments."""
