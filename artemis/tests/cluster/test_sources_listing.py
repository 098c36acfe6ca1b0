"""What of a source's answers applies."""

from artemis.cluster.addresses import peer_url
from artemis.cluster.sources.listing import Listing

A, B = peer_url("http://a:1"), peer_url("http://b:1")


def test_the_last_answer_applies() -> None:
    """Each other list is told once, whatever its order."""
    listing = Listing(30_000)
    assert [True, False, True, True] == [
        listing.answered(urls, now) for now, urls in enumerate(([A, B], [B, A, A], [B], [A]))
    ]
    assert {A} == listing.applied


def test_a_failure_keeps_the_list() -> None:
    """And is named until an answer comes."""
    listing = Listing(0)
    listing.failed("it is broken")
    assert (None, "it is broken; nobody is known yet") == (listing.applied, listing.trouble)
    listing.answered([A], 0)
    listing.failed("it is broken")
    assert ({A}, "it is broken; the nodes that it named before are kept") == (listing.applied, listing.trouble)
    listing.answered([A], 1)
    assert not listing.trouble


def test_an_empty_answer_applies_when_it_lasts() -> None:
    """A service whose members are all not ready for a moment names nobody."""
    listing = Listing(30_000)
    listing.answered([A], 0)
    assert [False, False, True, False] == [listing.answered([], now) for now in (1_000, 30_999, 31_000, 32_000)]
    assert (frozenset(), "") == (listing.applied, listing.trouble)


def test_an_empty_answer_is_no_news_after_another_one_or_a_failure() -> None:
    """It must last without interruption."""
    listing = Listing(30_000)
    listing.answered([A], 0)
    listing.answered([], 1_000)
    listing.failed("timeout")
    listing.answered([], 20_000)
    assert (
        "it names no nodes, which is not believed at once; the nodes that it named before are kept" == listing.trouble
    )
    assert not listing.answered([], 31_000)
    listing.answered([A], 32_000)
    assert not listing.answered([], 60_000)
    assert {A} == listing.applied


def test_where_emptiness_is_meant_it_applies_at_once() -> None:
    """An emptied file says that there is nobody (defect 11)."""
    listing = Listing(0)
    listing.answered([A], 0)
    assert listing.answered([], 1)
    assert frozenset() == listing.applied
