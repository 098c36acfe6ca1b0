"""The services that a client uses, as it knows them, and how that is kept current."""
