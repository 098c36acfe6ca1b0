"""Mixed clusters: nodes of the Java product beside this one (spec 6, 7.6).

What clients of this node ask is passed on to Java peers, their status is polled, and a node that starts with no other
source copies what they know. What Java nodes send comes in through the operations of spec 2.5 and is never sent back.
Not here: nodes of this implementation, which speak the mesh.
"""
