"""Read-only copies of what other regions show, kept beside the registry and shown to callers that name the region."""
