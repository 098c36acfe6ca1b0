"""The binary door: the operations of the node over MsgTrans (docs/protocol.md)."""
