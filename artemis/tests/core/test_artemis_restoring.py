"""What becomes of each record and decision of a backup at a node that knows the same, less, more or something newer."""

from base64 import b64encode
from collections import Counter

import msgspec
import pytest

from artemis.management.decisions import InstanceTarget, OperationRecord, ServerTarget
from artemis.management.dump import decisions_of, key_of, read_pieces
from artemis.model import Instance, RegistryRequest
from artemis.model.backup import BackupPartRequest, BackupRequest, RestoreRequest
from artemis.registry import NodeLimits, Saved
from artemis.registry.restore import read_whole
from artemis.server.backups import MOST_BACKUPS, PATIENCE
from artemis.server.handlers import backup
from artemis.server.node import Node, NodeIdentity
from artemis.server.restoring import BadPieceError, Restoring

WALL = 1_700_000_000_000
X = InstanceTarget("r", "s", "x")


def node(name: str = "n", now: int = 0, region: str = "r", **limits: int) -> Node:
    """A node that serves; its wall clock is `now` later than that of the first."""
    identity = NodeIdentity(node_id=name, epoch=1, region=region, zone="z", url=f"http://{name}:1")
    made = Node(identity, limits=NodeLimits(**limits), now=now, wall=WALL + now)
    made.tick(now, WALL + now)
    return made


def instance(name: str, url: str = "http://x/") -> Instance:
    """An instance of the service `s`."""
    return Instance(region_id="r", zone_id="z", service_id="s", instance_id=name, ip="10.0.0.1", port=1, url=url)


def register(made: Node, *names: str, now: int = 0, url: str = "http://x/") -> None:
    """Register these."""
    answer = made.register(RegistryRequest(instances=[instance(name, url) for name in names]), now)
    assert answer.response_status.ok


def saved(made: Node, now: int = 0) -> Saved:
    """A backup of now."""
    return read_whole(b"".join(made.cut(now, WALL + now).chunks()))


def put(made: Node, what: Saved, now: int, *, overwrite: bool = False, dry: bool = False) -> tuple[Counter, Counter]:
    """Put a backup back whole; what became of instances and of operations."""
    work = Restoring(made, what.header.region, overwrite=overwrite, dry=dry, now=now)
    operations: Counter[str] = Counter()
    for piece in what.operations:
        operations += work.operations(piece)
    if overwrite:
        decisions = decisions_of(read_pieces(what.operations))
        operations += work.end_others({key_of(each) for each, _ in decisions if not each.ended})[0]
    return work.instances(msgspec.msgpack.encode(what.rows)), operations


def seen(made: Node) -> list[str]:
    """The instances that callers see."""
    return sorted(name for name, _ in made.catalog.instances("s"))


def pulled_out(made: Node) -> list[str]:
    """The ids of instances and servers that are pulled out."""
    entries = [*made.operations.instance_entries(), *made.operations.server_entries()]
    return sorted(entry.target[-1] for entry in entries)


def pull_out(made: Node, target: InstanceTarget | ServerTarget, now: int, operation: str = "op") -> None:
    """Pull it out."""
    made.pullouts.operate(target, OperationRecord(operation, "alice", None), now)


def test_an_empty_node_has_all_again_with_a_fresh_ttl_until_nobody_renews() -> None:
    """What was removed or had expired does not come back; the operator's name stays."""
    old = node()
    register(old, "x", "y", "gone")
    old.unregister(RegistryRequest(instances=[instance("gone")]), 0)
    pull_out(old, X, 0)
    pull_out(old, ServerTarget("r", "10.9.9.9"), 0)
    new = node("m", now=50_000)
    assert (Counter(added=2, dead=1), Counter(added=2)) == put(new, saved(old), 50_000)
    assert ["y"] == seen(new)
    assert ["10.9.9.9", "x"] == pulled_out(new)
    [entry] = new.operations.instance_entries()
    assert "alice" == entry.records["op"].operator
    new.tick(69_000, WALL + 69_000)
    assert ["y"] == seen(new)
    new.tick(71_000, WALL + 71_000)
    assert [] == seen(new)


def test_what_is_the_same_changes_nothing() -> None:
    """Twice the same backup is as good as once, and no change is made."""
    old = node()
    register(old, "x")
    pull_out(old, X, 0)
    what = saved(old)
    before = dict(old.registry.vector)
    assert (Counter(same=1), Counter(same=1)) == put(old, what, 100)
    assert before == old.registry.vector


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_newer_stays_unless_the_backup_is_to_win(overwrite: bool) -> None:
    """Other content, a removal, an expiry, a pull-in, and a pull-out that the backup lacks."""
    made = node()
    register(made, "changed", "removed", "silent", "kept")
    pull_out(made, X, 0)
    what = saved(made)
    made.heartbeat(RegistryRequest(instances=[instance("kept"), instance("changed")]), 19_000)
    made.tick(20_500, WALL + 20_500)
    register(made, "changed", now=21_000, url="http://new/")
    made.unregister(RegistryRequest(instances=[instance("removed")]), 21_000)
    made.pullouts.complete(X, "op", 21_000)
    pull_out(made, InstanceTarget("r", "s", "kept"), 21_000, "mistake")
    made.tick(21_000, WALL + 21_000)
    instances, operations = put(made, what, 22_000, overwrite=overwrite)
    if overwrite:
        assert (Counter(changed=1, returned=2, same=1), Counter(added=1, ended=1)) == (instances, operations)
        assert ["changed", "kept", "removed", "silent"] == seen(made)
        assert ["x"] == pulled_out(made)
        lease = made.registry.find("s", "changed")
        assert lease is not None
        assert b"http://x/" in lease.record.content
    else:
        assert (Counter(kept=3, same=1), Counter(kept=1)) == (instances, operations)
        assert ["changed"] == seen(made)
        assert ["kept"] == pulled_out(made)


def test_a_dry_run_tells_the_effect_and_has_none() -> None:
    """The same counts, the bound on instances included."""
    old = node()
    register(old, "x", "y", "z")
    pull_out(old, X, 0)
    new = node("m", max_instances=2)
    what = saved(old)
    told = put(new, what, 0, overwrite=True, dry=True)
    assert ([], []) == (seen(new), pulled_out(new))
    assert told == put(new, what, 0, overwrite=True)
    assert (Counter(added=2, refused=1), Counter(added=1)) == told


def test_what_a_backup_brings_is_above_all_versions_that_clients_know() -> None:
    """A client that names the version of its last answer goes on renewing."""
    old = node()
    register(old, "x")
    new = node("m", now=0)
    put(new, saved(old), 0)
    [was], [lease] = saved(old).rows, [new.registry.find("s", "x")]
    assert lease is not None
    assert was.version < lease.record.version
    assert new.registry.heartbeat(instance("x"), 5_000, was.version) is lease


def test_a_backup_of_another_region_is_of_this_one_when_it_is_put_back_here() -> None:
    """Instances and pull-outs alike."""
    old = node()
    register(old, "x")
    pull_out(old, X, 0)
    new = node("m", region="elsewhere")
    assert (Counter(added=1), Counter(added=1)) == put(new, saved(old), 0)
    assert [] == seen(new)
    new.pullouts.complete(InstanceTarget("elsewhere", "s", "x"), "op", 0)
    assert ["x"] == seen(new)


def test_stamps_of_a_clock_that_was_years_ahead_are_not_taken_over() -> None:
    """One of them would be above all that clients write later."""
    old = node()
    register(old, "x")
    [row] = saved(old).rows
    ahead = msgspec.structs.replace(row, version=((WALL + 2 * 365 * 86_400_000) * 1000, "n"))
    new = node("m")
    work = Restoring(new, "r", overwrite=True, dry=False, now=0)
    assert Counter(refused=1) == work.instances(msgspec.msgpack.encode([ahead]))


@pytest.mark.parametrize("piece", [b"", b"\xff", msgspec.msgpack.encode([1]), msgspec.msgpack.encode([[]] * 201)])
def test_what_is_no_piece_of_a_backup_is_refused(piece: bytes) -> None:
    """With words."""
    work = Restoring(node(), "r", overwrite=False, dry=False, now=0)
    with pytest.raises(BadPieceError):
        work.instances(piece)


# -- asked for by operators


def test_a_backup_is_handed_out_in_parts_and_exact_at_its_beginning() -> None:
    """Whatever changes meanwhile; the last part that came may be asked for again."""
    made = node()
    register(made, *(f"i{n}" for n in range(2_000)))
    begun = backup.backup(made, BackupRequest(operator_id="alice"), 0)
    assert (2_000, "n", "r") == (begun.instances, begun.node_id, begun.region_id)
    parts, last = [], False
    while not last:
        asked = BackupPartRequest(number=begun.number, part=len(parts))
        answer = backup.backup_part(made, asked, 0)
        assert answer == backup.backup_part(made, asked, 0)
        parts.append(msgspec.json.decode(msgspec.json.encode(answer.data), type=bytes))
        last = answer.last
        register(made, f"late{len(parts)}")
        made.unregister(RegistryRequest(instances=[instance(f"i{2_000 - len(parts)}")]), 0)
    assert 3 < len(parts)
    assert {f"i{n}" for n in range(2_000)} == {row.instance for row in read_whole(b"".join(parts)).rows}


def test_backups_under_way_are_bounded_and_given_up() -> None:
    """One that nobody asks for any more makes room."""
    made = node()
    begun = [backup.backup(made, BackupRequest(operator_id="alice"), 0) for _ in range(MOST_BACKUPS + 1)]
    assert [True, True, False] == [each.response_status.ok for each in begun]
    made.tick(PATIENCE + 1, WALL)
    assert [] == made.registry._witnesses
    assert not backup.backup_part(made, BackupPartRequest(number=begun[0].number), PATIENCE + 1).response_status.ok
    assert backup.backup(made, BackupRequest(operator_id="alice"), PATIENCE + 1).response_status.ok


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (None, "say of which cluster"),
        (RestoreRequest(region_id="r"), "operatorId must say"),
        (RestoreRequest(region_id="q", operator_id="a"), "is of the region 'q', this node of 'r'; --force-cluster"),
        (
            RestoreRequest(region_id="r", cluster_name="c", operator_id="a"),
            "is of the cluster 'c', this node of 'mine'",
        ),
        (RestoreRequest(region_id="r", operator_id="a", instances="?"), "base64"),
        (RestoreRequest(region_id="r", operator_id="a", operations=b64encode(b"x").decode()), "no operations"),
        (RestoreRequest(region_id="r", operator_id="a", only=[["a"]]), "service, target, operation"),
    ],
)
def test_what_cannot_be_put_back_is_refused_with_words(request_: RestoreRequest | None, words: str) -> None:
    """Before anything is changed."""
    made = node()
    made.cluster_name = "mine"
    answer = backup.restore(made, request_, 0)
    assert words in (answer.response_status.message or "")
    assert "fail" == answer.response_status.status


def test_many_other_pull_outs_end_some_at_a_time() -> None:
    """So that nobody waits long; what belongs to another region stays."""
    made = node(max_operations=2_000)
    for n in range(1_200):
        pull_out(made, InstanceTarget("r", "s", f"i{n}"), 0)
    pull_out(made, InstanceTarget("q", "s", "i"), 0)
    ask = RestoreRequest(region_id="r", operator_id="a", overwrite=True, only=[["S", "i7", "OP"]])
    answers = [backup.restore(made, ask, 0) for _ in range(3)]
    assert [(500, True), (500, True), (199, False)] == [
        ((each.operations or {})["ended"], each.more) for each in answers
    ]
    assert ["i", "i7"] == pulled_out(made)
