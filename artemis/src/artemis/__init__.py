"""Artemis, a service registry."""
