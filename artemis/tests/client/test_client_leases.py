"""What each answer of the registry means for the instances of a client."""

import pytest

from artemis.client.errors import LimitError
from artemis.client.names import instance_key
from artemis.client.registration.leases import LeaseBook, LeaseState, Plan, Refusal
from artemis.model import FailedInstance, Instance


def instance(name: str = "i1", **fields: str) -> Instance:
    """Build a whole instance."""
    return Instance(region_id="R", zone_id="Z", service_id="S", instance_id=name, url="http://x", **fields)  # type: ignore[arg-type]


def failed(one: Instance, code: str) -> FailedInstance:
    """Build an entry of failedInstances."""
    return FailedInstance(instance=one, error_code=code, error_message="why")


def test_identity_ignores_letter_case_and_everything_but_the_key() -> None:
    """Spec 1.3: region, service and instance id, in any letter case."""
    assert instance_key(instance("I1", group_id="g")) == instance_key(instance("i1")) == ("r", "s", "i1")


def test_the_same_instance_twice_is_an_error() -> None:
    """Two owners of one lease in one client would end each other's registration."""
    book = LeaseBook(limit=10, ttl=20.0)
    book.add(instance("i1"))
    with pytest.raises(ValueError, match="r/s/i1 already"):
        book.add(instance("I1"))


def test_the_number_of_leases_is_bounded() -> None:
    """The error names the option."""
    book = LeaseBook(limit=1, ttl=20.0)
    book.add(instance("i1"))
    with pytest.raises(LimitError, match="max_instances=1"):
        book.add(instance("i2"))


def test_heartbeats_carry_what_was_registered_in_bounded_messages() -> None:
    """A registration under way does not take part, so that a heartbeat never overtakes it."""
    book = LeaseBook(limit=10, ttl=20.0)
    held = [book.add(instance(f"i{number}")) for number in range(3)]
    book.registered(held, [])
    book.add(instance("pending"))
    assert list(book.batches(2)) == [held[:2], held[2:]]
    assert list(book.batches(2, after=held[1])) == [[held[2], held[0]], [held[1]]]


def test_a_lease_that_the_registry_lost_is_registered_again() -> None:
    """Codes data-not-found and unknown ask for it (spec 9.4); the others in the message are renewed."""
    book = LeaseBook(limit=10, ttl=20.0)
    leases = [book.add(instance(f"i{number}")) for number in range(3)]
    book.registered(leases, [])
    answer = [failed(instance("I0"), "data-not-found"), failed(instance("i1"), "unknown")]
    findings = book.renewed(leases, answer)
    assert findings.register_again == (leases[0], leases[1])
    assert (findings.refused, findings.accepted) == ((), ())


def test_a_refusal_is_news_once_and_ends_with_the_next_acceptance() -> None:
    """It shows in state and error as long as it lasts."""
    book = LeaseBook(limit=10, ttl=20.0)
    lease = book.add(instance())
    book.registered([lease], [])
    refused = book.renewed([lease], [failed(instance(), "no-permission")])
    assert refused.refused == (Refusal(lease.instance, "no-permission", "why"),)
    assert (lease.state, lease.error) == (LeaseState.REFUSED, "no-permission: why")
    assert book.renewed([lease], [failed(instance(), "no-permission")]).refused == ()
    assert book.renewed([lease], []).accepted == (lease,)
    assert (lease.state, lease.error) == (LeaseState.HELD, "")


def test_a_heartbeat_without_answer_makes_a_lease_uncertain() -> None:
    """Until the next answer."""
    book = LeaseBook(limit=10, ttl=20.0)
    lease = book.add(instance())
    book.registered([lease], [])
    book.unheard([lease], "refused")
    assert (lease.state, lease.error) == (LeaseState.UNCERTAIN, "refused")
    book.renewed([lease], [])
    assert (lease.state, lease.error) == (LeaseState.HELD, "")


def test_answers_mean_nothing_for_a_lease_that_has_ended() -> None:
    """A late data-not-found does not bring an instance back that was taken out meanwhile."""
    book = LeaseBook(limit=10, ttl=20.0)
    lease = book.add(instance())
    book.registered([lease], [])
    book.end(lease, now=0.0)
    assert book.renewed([lease], [failed(instance(), "data-not-found")]).register_again == ()
    assert lease.state is LeaseState.ENDED
    assert len(book) == 0


def test_an_answer_about_a_former_lease_does_not_touch_its_successor() -> None:
    """The same instance registered anew is another lease."""
    book = LeaseBook(limit=10, ttl=20.0)
    former = book.add(instance())
    book.end(former, now=0.0)
    successor = book.add(instance())
    book.registered([former], [])
    assert successor.state is LeaseState.PENDING


def test_what_is_sent_about_a_lease_follows_from_what_the_registry_has() -> None:
    """Accepted as it is: renewed. New, changed or perhaps lost on the way: registered. Withheld: taken out, once."""
    book = LeaseBook(limit=10, ttl=20.0)
    leases = [book.add(instance(f"i{number}")) for number in range(5)]
    new, accepted, changed, unheard, withheld = leases
    book.registered(leases[1:], [])
    changed.instance = instance("i2", status="down")
    book.offering([unheard])
    withheld.unhealthy = "no database"
    plan = book.plan(leases)
    assert (plan.renew, plan.register, plan.take_out) == ((accepted,), (new, changed, unheard), (withheld,))
    book.taken_out(plan.take_out)
    assert book.plan([withheld]) == Plan((), (), ())
    withheld.unhealthy = ""
    assert book.plan([withheld]).register == (withheld,)


def test_withholding_is_news_once_and_shows_its_reason() -> None:
    """Health comes before filters; a reason that changes shows without being news."""
    book = LeaseBook(limit=10, ttl=20.0)
    lease = book.add(instance())
    lease.filtered = "filtered"
    assert book.withhold([lease]) == [lease]
    assert (lease.state, lease.error) == (LeaseState.WITHHELD, "filtered")
    lease.unhealthy = "ill"
    assert book.withhold([lease]) == []
    assert lease.error == "ill"
    lease.filtered = lease.unhealthy = ""
    book.unheard([lease], "silence")
    assert (lease.state, lease.error) == (LeaseState.UNCERTAIN, "silence")


def test_what_a_node_may_have_is_a_stray_after_its_end() -> None:
    """Until it is cleared, wanted again, or its lease must have ended by itself."""
    book = LeaseBook(limit=2, ttl=20.0)
    unsent, sent = book.add(instance("i1")), book.add(instance("i2"))
    book.offering([sent])
    book.end(unsent, now=100.0)
    book.end(sent, now=100.0)
    book.end(sent, now=200.0)
    assert book.strays(now=119.0) == [sent.instance]
    assert book.is_stray(instance("I2"))
    again = book.add(instance("i2"))
    assert book.strays(now=119.0) == []
    book.offering([again])
    book.end(again, now=100.0)
    book.cleared([again.instance])
    assert book.strays(now=100.0) == []
    last = book.add(instance("i3"))
    book.offering([last])
    book.end(last, now=100.0)
    assert book.strays(now=120.0) == []


def test_the_number_of_strays_is_bounded() -> None:
    """The oldest makes room: its lease ends first."""
    book = LeaseBook(limit=2, ttl=20.0)
    for number in range(3):
        lease = book.add(instance(f"i{number}"))
        book.offering([lease])
        book.end(lease, now=float(number))
    assert [stray.instance_id for stray in book.strays(now=3.0)] == ["i1", "i2"]


def test_an_instance_that_was_never_accepted_is_no_stray() -> None:
    """A node that refuses the first registration has nothing to take out."""
    book = LeaseBook(limit=2, ttl=20.0)
    lease = book.add(instance())
    book.offering([lease])
    book.registered([lease], [failed(instance(), "no-permission")])
    book.end(lease, now=0.0)
    assert book.strays(now=0.0) == []
