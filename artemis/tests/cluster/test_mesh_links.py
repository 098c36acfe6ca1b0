"""Links between meshes on real sockets: who gets one, what travels, how they end."""

from mesh_nodes import Member, members


async def test_two_nodes_send_to_each_other():
    """What one node sends to all or to one comes at the other, in order."""
    one, two = Member("one"), Member("two")
    async with members(one, two):
        one.dial(two)
        two.dial(one)
        await one.until_linked(two)
        await two.until_linked(one)
        said = [one.say(1), one.say(2, "two"), one.say(3, "nobody"), one.say(3)]
        answered = two.say(7)
        await two.until(lambda: len(two.replica.received) == 3)
        await one.until(lambda: one.replica.received)
        assert [("one", said[0]), ("one", said[1]), ("one", said[3])] == two.replica.received
        assert [("two", answered)] == one.replica.received


async def test_a_node_dials_back_who_dials_it():
    """A node without a list sends to those that dialled it."""
    one, two = Member("one"), Member("two")
    async with members(one, two):
        one.dial(two)
        await two.until_linked(one)
        said = two.say(1)
        await one.until(lambda: one.replica.received)
        assert [("two", said)] == one.replica.received
        assert [(False, True, "one")] == [(peer.configured, peer.connected, peer.node) for peer in two.mesh.peers()]
