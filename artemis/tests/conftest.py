"""What all tests of artemis share: how hypothesis looks for examples."""

from hypothesis import HealthCheck, settings

# How long an example takes says nothing about the code on a shared machine.
settings.register_profile("artemis", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("artemis")
