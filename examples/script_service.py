"""A program that registers itself while it runs; the registry comes from ARTEMIS_SERVERS, the place from
ARTEMIS_REGION and ARTEMIS_ZONE: python examples/script_service.py [PORT].
"""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from artemis import Instance
from artemis.script import registered


class Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello from a script")


server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0), Hello)


@registered(Instance(service_id="script-greetings", ip="127.0.0.1", port=server.server_port))
def main() -> None:
    server.serve_forever()  # SIGTERM and Ctrl-C end it; it is out of the registry before the program ends


main()
