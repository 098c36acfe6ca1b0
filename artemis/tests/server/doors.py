"""Raw bytes for the doors of a node: requests as they go over the wire, and a connection that reads answers."""

import asyncio
import json


class Wire:
    """A raw connection: bytes out, parsed answers in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        """Send as is."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, *, head_only: bool = False) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, header fields in lower case, body."""
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 30)).decode()
        first, *lines = head.split("\r\n")[:-2]
        fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = b""
        if fields.get("transfer-encoding") == "chunked":
            while size := int(await self.reader.readline(), 16):
                body += (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readline()
        elif not head_only:
            body = await self.reader.readexactly(int(fields["content-length"]))
        return int(first.split(" ", 2)[1]), fields, body

    async def closed(self) -> bytes:
        """What still comes until the peer closes."""
        try:
            return await asyncio.wait_for(self.reader.read(), 30)
        except ConnectionResetError:
            return b""

    async def post(self, path: str, content: object, *fields: str) -> dict[str, object]:
        """POST JSON, expect 200, give the decoded answer."""
        await self.send(post(path, json.dumps(content).encode(), *fields))
        status, _, body = await self.answer()
        assert status == 200, body
        decoded: dict[str, object] = json.loads(body)
        return decoded


def post(path: str, body: bytes, *fields: str) -> bytes:
    """The bytes of a POST request with a Content-Length."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *fields,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def get(target: str, *fields: str, method: str = "GET") -> bytes:
    """The bytes of a request without a body."""
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: x", *fields]).encode() + b"\r\n\r\n"


def instance(number: int = 7, **changes: object) -> dict[str, object]:
    """An instance as JSON."""
    return {
        "regionId": "r1",
        "zoneId": "z1",
        "serviceId": "demo.orders",
        "instanceId": f"10.0.0.{number}",
        "ip": f"10.0.0.{number}",
        "port": 8080,
        "url": f"http://10.0.0.{number}:8080/orders",
        "status": "up",
        **changes,
    }
