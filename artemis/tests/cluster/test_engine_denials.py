"""What servers deny of the subjects on which nodes talk: told until it was tried again with success."""

import pytest

from artemis.cluster.nats.denials import AGAIN, SETTLED, Denials, Use
from artemis.cluster.nats.names import Names

NAMES = Names.of("prod")
SAY = 'nats: permissions violation for publish to "artemis.prod.beat"'
HEAR = 'nats: Permissions Violation for Subscription to "artemis.prod.beat"'
TO = 'nats: permissions violation for publish to "artemis.prod.to.{}"'


@pytest.fixture
def denials() -> Denials:
    """Those of a node of the cluster `prod`."""
    return Denials(NAMES)


def test_what_is_denied_is_told_with_the_permission_that_it_takes(denials: Denials) -> None:
    """Whether it does not hear or is not heard, or both."""
    assert ("", False) == (denials.why, bool(denials))
    denials.take(SAY, 0)
    assert ("the others do not hear this node; permit it to publish to artemis.prod.>", True) == (
        denials.why,
        bool(denials),
    )
    denials.take(HEAR, 0)
    assert denials.why.startswith("this node does not hear the others; permit it to subscribe to artemis.prod.>; ")


@pytest.mark.parametrize(
    "text",
    [
        'nats: permissions violation for publish to "$kv.artemis_prod.x"',
        'nats: permissions violation for publish to "artemis.product.beat"',
        "nats: permissions violation",
        "nats: 'maximum connections exceeded'",
    ],
)
def test_what_is_about_something_else_is_left_to_others(denials: Denials, text: str) -> None:
    """Such as the bucket, or another cluster."""
    denials.take(text, 0)
    assert "" == denials.why


def test_it_is_over_when_it_was_tried_and_not_denied_for_a_while(denials: Denials) -> None:
    """Each further denial begins anew, and time alone ends nothing."""
    denials.take(SAY, 0)
    denials.tick(10 * SETTLED)
    assert denials.why
    denials.tried(Use.SAY, NAMES.beats, 10)
    denials.take(SAY, 20)
    denials.tick(10 + SETTLED)
    assert denials.why
    denials.tried(Use.SAY, NAMES.beats, 30)
    denials.tried(Use.SAY, NAMES.beats, 40)
    denials.tick(29 + SETTLED)
    assert denials.why
    denials.tick(30 + SETTLED)
    assert "" == denials.why


def test_subjects_of_single_nodes_count_as_one(denials: Denials) -> None:
    """One that is no more would be denied for ever, as nobody tries it again."""
    denials.take(TO.format("a"), 0)
    denials.tried(Use.SAY, NAMES.beats, 1)
    denials.tick(1 + SETTLED)
    assert denials.why
    denials.tried(Use.SAY, NAMES.to("b"), 2)
    denials.tick(2 + SETTLED)
    assert "" == denials.why


def test_a_subscription_is_tried_again_from_time_to_time(denials: Denials) -> None:
    """As a server tells of it once, and says nothing when it would be permitted."""
    denials.take(HEAR, 0)
    assert [] == denials.due(AGAIN - 1)
    assert [NAMES.beats] == denials.due(AGAIN)
    denials.tried(Use.HEAR, NAMES.beats, AGAIN)
    assert [] == denials.due(2 * AGAIN)
    denials.take(HEAR, AGAIN + 5)
    assert [NAMES.beats] == denials.due(2 * AGAIN + 5)
    denials.tried(Use.HEAR, NAMES.beats, 2 * AGAIN + 5)
    denials.tick(2 * AGAIN + 5 + SETTLED)
    assert ("", False) == (denials.why, bool(denials))
