"""Who is asked when, what is answered, and how an answer is taken in, part by part (design 4.1 "Repair").

Not here: what an answer holds and how its rows merge (`exchange`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from artemis.cluster import exchange
from artemis.cluster.digests import BUCKETS, Digests
from artemis.cluster.exchange import AHEAD, PARTS, Answer, Exchanged, Question
from artemis.cluster.inspection import Inspection
from artemis.cluster.messages import Digest, More, Repair
from artemis.cluster.operators import OperatorState
from artemis.cluster.outbox import Outbox
from artemis.cluster.timings import ClusterTimings
from artemis.registry import Registry

_DIGESTS = 1_000
"""Digests made at once, about 5 ms."""

_LONGEST = 120
"""Times the patience that a whole answer may take: ten minutes, in which a million records come in parts of 200 even if
each part takes 100 ms."""

_LOOKED_AT = 8_000
"""Leases that the end of an exchange looks at in one go."""


class Exchanges:
    """The exchanges of one node: its own question, one at a time, and its answers to peers. Owned by a replica.

    `begun` is called with a question whose answer begins to come, `done` when one was taken in whole.
    """

    def __init__(
        self,
        registry: Registry,
        digests: Digests,
        operators: OperatorState | None,
        outbox: Outbox,
        timings: ClusterTimings,
        *,
        begun: Callable[[Question, int], None],
        done: Callable[[int], None],
        rows: int,
        now: int,
    ) -> None:
        self.partners: Collection[str] | None = None
        self.exchanged: dict[str, Exchanged] = {}
        self.compared: dict[str, int] = {}
        self.differing = 0
        self._registry = registry
        self._digests = digests
        self._operators = operators
        self._outbox = outbox
        self._timings = timings
        self._begun = begun
        self._done = done
        self._rows = rows
        self._now = now
        # Whom to ask first, because something of theirs is missing; then in turn.
        self._wanted: dict[str, None] = {}
        self._inspections: dict[str, Inspection] = {}
        self._question: Question | None = None
        self._request = (registry.origin.epoch % 2**40) << 20
        self._next = now + timings.exchange
        self._turn = 0
        # Questions of peers that wait, and since when.
        self._asked: dict[str, tuple[Digest, int]] = {}
        self._answers: dict[str, Answer] = {}

    @property
    def with_peer(self) -> str | None:
        """The peer whose answer is under way."""
        return None if self._question is None else self._question.peer

    @property
    def came(self) -> int | None:
        """When the latest part of an answer under way came, None before the first."""
        question = self._question
        return None if question is None or (not question.index and question.left is None) else question.since

    def want(self, peer: str) -> None:
        """Ask a peer as soon as it can be."""
        self._wanted[peer] = None

    def inspect(self, peer: str, now: int) -> Inspection:
        """Compare with a peer as soon as it can be, and merge nothing; what is found is in the inspection.

        There is one for each peer at a time: while one is not done, it is the one that is returned.
        """
        waiting = self._inspections.get(peer)
        question = self._question
        if waiting is None and question is not None and question.peer == peer:
            waiting = question.inspection
        if waiting is not None:
            return waiting
        inspection = Inspection(peer, now)
        if peer in self._outbox.connected:
            self._inspections[peer] = inspection
        else:
            inspection.fail("there is no link to it", now)
        return inspection

    def disconnect(self, peer: str) -> None:
        """Neither ask nor answer a peer any longer."""
        self._wanted.pop(peer, None)
        self._asked.pop(peer, None)
        self._answers.pop(peer, None)
        inspection = self._inspections.pop(peer, None)
        if inspection is not None:
            inspection.fail("the link to it ended", self._now)
        if self._question is not None and self._question.peer == peer:
            self.give_up(self._now, "the link to it ended")

    def keep(self, peers: Collection[str]) -> None:
        """Forget all peers but these."""
        for table in (self.exchanged, self.compared):
            for peer in [peer for peer in table if peer not in peers]:
                del table[peer]

    def tick(self, now: int) -> None:
        """Go on with what is under way, or begin what is due."""
        self._now = now
        clean = self._digests.refresh(_DIGESTS)
        self.answer_all(now)
        self._answers = {
            peer: answer for peer, answer in self._answers.items() if now - answer.since <= self._timings.patience
        }
        for peer, answer in list(self._answers.items()):
            self._send_parts(peer, answer)
        if self._question is not None and self._question.early:
            self._take_in(self._question, now)
        question = self._question
        if question is not None and question.left is not None:
            self._finish(question, now)
        elif question is not None and question.inspection is not None and question.inspection.ending:
            self._end_inspection(question.inspection, now)
        elif question is not None and now - question.since > self._timings.patience:
            self.give_up(now, f"it did not answer for {self._timings.patience / 1000:g} s")
        if self._question is None and clean:
            self.ask(now)

    def on_digest(self, peer: str, message: Digest, now: int) -> None:
        """Answer a peer, as soon as it can be."""
        self._asked[peer] = message, now
        self.answer_all(now)

    def ask(self, now: int) -> None:
        """Begin an exchange with whom something is missing of, else, when it is time, with the next peer."""
        if self._inspections:
            self._look(now)
            return
        allowed = [peer for peer in self._outbox.connected if self.partners is None or peer in self.partners]
        peer = next((wanted for wanted in self._wanted if wanted in allowed), None)
        # One that is wanted all the time must not keep this node from ever comparing itself with the others.
        if peer is None or now >= self._next + self._timings.exchange:
            if now < self._next or not allowed:
                return
            self._next = now + self._timings.exchange
            self._turn += 1
            peers = sorted(allowed)
            peer = peers[self._turn % len(peers)]
        self._wanted.pop(peer, None)
        self._put(peer, now)

    def _look(self, now: int) -> None:
        """Ask a peer for what differs, only to look at it."""
        peer, inspection = next(iter(self._inspections.items()))
        del self._inspections[peer]
        self._put(peer, now).inspection = inspection

    def _put(self, peer: str, now: int) -> Question:
        self._request += 1
        repaired = self._registry.counters.repaired
        question = self._question = Question(peer, self._request, now, begun=now, repaired=repaired)
        self._outbox.send(peer, Digest(self._request, exchange.sums(self._digests, self._operators)))
        return question

    def give_up(self, now: int, why: str) -> None:
        """Wait for no answer any longer; what is missing shows again."""
        question, self._question = self._question, None
        if question is None:
            return
        if question.inspection is not None:
            question.inspection.fail(why, now)
            return
        self.exchanged[question.peer] = Exchanged(at=now, took=now - question.begun, completed=False)
        self._outbox.counters.exchanges_given_up += 1

    def answer_all(self, now: int) -> None:
        """Answer those who have asked, as soon as a link to them is there and no digest is missing."""
        for peer, (digest, since) in list(self._asked.items()):
            if now - since > self._timings.patience:
                del self._asked[peer]
            elif peer in self._outbox.connected and self._digests.refresh(_DIGESTS):
                del self._asked[peer]
                self._answer(peer, digest, now)

    def _answer(self, peer: str, digest: Digest, now: int) -> None:
        """Send a peer the first part of all that differs; no digest may be missing."""
        self._outbox.counters.answers += 1
        buckets = exchange.differing(self._digests, self._operators, digest.sums)
        answer = Answer(self._registry, self._digests, self._operators, digest.request, buckets, self._rows, now)
        self._answers[peer] = answer
        self._send_part(peer, answer.begin())

    def on_more(self, peer: str, message: More, now: int) -> None:
        """Send a peer the next part of its answer."""
        answer = self._answers.get(peer)
        if answer is not None and answer.request == message.request:
            answer.hear(message, now)
            self._send_parts(peer, answer)

    def _send_parts(self, peer: str, answer: Answer) -> None:
        for part in answer.parts():
            self._send_part(peer, part)
            if part.last:
                return

    def _send_part(self, peer: str, part: Repair) -> None:
        self._outbox.counters.rows_sent += len(part.rows)
        self._outbox.send(peer, part)
        if part.last:
            del self._answers[peer]

    def on_repair(self, peer: str, message: Repair, now: int) -> None:
        """Take in a part of an answer, and what came before its turn; ask for those that follow."""
        question = self._question
        if (
            question is None
            or (question.peer, question.request) != (peer, message.request)
            or not question.index <= message.index <= question.asked
        ):
            return  # it answers an earlier question, or comes twice
        question.early[message.index] = message
        self._take_in(question, now)

    def _take_in(self, question: Question, now: int) -> None:
        for _ in range(PARTS):
            part = question.early.pop(question.index, None)
            if part is None or question.left is not None or self._only_ends(question):
                return
            self._on_part(question, part, now)
            if question is not self._question:
                return

    def _on_part(self, question: Question, part: Repair, now: int) -> None:
        exchange.take(question, part, self._digests)
        if question.idle > AHEAD or now - question.begun > _LONGEST * self._timings.patience:
            # No node says nothing and that there is more; nobody else is asked before this one comes to an end.
            self.give_up(now, "its answer does not end")
            return
        question.since = now
        if not question.index:
            strange = exchange.begin(question, part, self._registry, now)
            if question.inspection is None:
                self._outbox.counters.strange += strange
                self.differing = len(question.buckets)
                self._begun(question, now)
            else:
                question.inspection.begin(question.buckets, question.theirs, self._operators)
        if question.inspection is None:
            self._merge(question, part, now)
        else:
            self._look_at(question, question.inspection, part, now)

    def _merge(self, question: Question, part: Repair, now: int) -> None:
        exchange.absorb(question, part.rows, self._registry, self._operators, self._outbox.counters, now)
        self._digests.refresh(len(part.rows))
        if part.last:
            question.left = list(question.ours)
            self._finish(question, now)
        else:
            self._go_on(question)

    def _look_at(self, question: Question, inspection: Inspection, part: Repair, now: int) -> None:
        inspection.compare(part.rows, question.ours, self._registry)
        if part.last or inspection.enough:
            inspection.end(question.ours if part.last else (), complete=part.last)
            self._end_inspection(inspection, now)
        else:
            self._go_on(question)

    def _go_on(self, question: Question) -> None:
        """Ask for what follows: for one part more at once than the last time, so that little is asked for in vain."""
        question.index += 1
        question.window = min(question.window + 1, AHEAD)
        while question.asked - question.index + 1 < question.window:
            self._outbox.send(question.peer, exchange.ask(question, self._digests))

    def _only_ends(self, question: Question) -> bool:
        return question.inspection is not None and question.inspection.ending

    def _end_inspection(self, inspection: Inspection, now: int) -> None:
        """After the last row: go on with what the peer has not."""
        inspection.finish(self._registry, _LOOKED_AT, now)
        if inspection.done:
            self._question = None
            self._outbox.counters.inspections += 1

    def _finish(self, question: Question, now: int) -> None:
        """After the last row: say what died at the peer unknown to us, some at a time, and know as much as it did."""
        registry = self._registry
        for lease in exchange.lacking(question, registry, _LOOKED_AT):
            registry.restate(lease, now)
            self._outbox.counters.restated += 1
            question.restated += 1
        if question.left:
            return
        if self._operators is not None:
            buckets = [bucket - BUCKETS for bucket in question.buckets if bucket >= BUCKETS]
            self._operators.lacking(buckets, question.operations, question.theirs, now)
        registry.drop_epochs(question.theirs.base)
        registry.rise(question.theirs, question.floor)
        self._question = None
        self.compared[question.peer] = now
        self.exchanged[question.peer] = Exchanged(
            at=now,
            took=now - question.begun,
            completed=True,
            buckets=len(question.buckets),
            rows=question.rows,
            repaired=registry.counters.repaired - question.repaired,
            restated=question.restated,
        )
        self._outbox.counters.exchanges += 1
        self._done(now)
