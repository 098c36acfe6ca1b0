"""The protocol alone: packets to bytes and back, without any connection.

python examples/msgtrans/packets.py
"""

from msgtrans import Compression, Flag, Packet, PacketDecoder, PacketType, RemoteProtocolError, decode, encode


def main() -> None:
    packets = [
        Packet(PacketType.ONE_WAY, 1, b"hi"),
        Packet(PacketType.REQUEST, 2, b"what time is it?", biz_type=42, ext_header=b"trace=7"),
        Packet(PacketType.RESPONSE, 2, b"late", biz_type=42),
        Packet(PacketType.ONE_WAY, 3, bytes(range(256)), flags=Flag.HIGH_PRIORITY),
        Packet(PacketType.ONE_WAY, 4, b"hello " * 100, compression=Compression.ZLIB),
    ]

    # Each packet is one piece of bytes, and back.
    for packet in packets:
        data = encode(packet)
        same = "the same" if decode(data) == packet else "another"
        name = PacketType(packet.packet_type).name.lower()
        print(f"{name} {packet.message_id}: {len(packet.payload)} bytes, {len(data)} on the wire; decoded {same}")

    # On a stream they follow each other, and arrive cut anywhere: the decoder keeps what is not whole yet.
    stream = b"".join(map(encode, packets))
    decoder, arrived = PacketDecoder(), []
    for start in range(0, len(stream), 7):
        arrived += decoder.feed(stream[start : start + 7])
    print(f"{len(stream)} bytes in pieces of 7: {len(arrived)} packets, {arrived == packets}")

    # What is no packet is refused with a sentence.
    try:
        decode(b"GET / HTTP/1.1\r\n")
    except RemoteProtocolError as error:
        print(f"refused: {error}")


if __name__ == "__main__":
    main()
