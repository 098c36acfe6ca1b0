"""The API as a document and as a page to browse, offline: everything the page needs comes from this node.

The page is Swagger UI, whose files come out of the wheel `offapi`. A policy tells the browser to load nothing from
elsewhere. Not here: what the document says; see `artemis.server.openapi`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib.resources import files

import msgspec

from artemis.server.http.answer import Answer
from artemis.server.openapi import openapi_document
from artemis.server.operations import OPERATIONS

_ASSETS = {
    "/docs/swagger-ui.css": ("swagger_style.css", b"text/css; charset=utf-8"),
    "/docs/swagger-ui.js": ("swagger_bundle.js", b"text/javascript; charset=utf-8"),
}
_SCRIPT = b"text/javascript; charset=utf-8"

#: Swagger UI sets styles on its elements, and its pictures are part of its style sheet.
_POLICY_TEXT = (
    b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_POLICY = (b"Content-Security-Policy", _POLICY_TEXT)
_SNIFF = (b"X-Content-Type-Options", b"nosniff")

# Addresses are relative to the page, so that it works below a path prefix and behind a proxy.
_PAGE = b"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Artemis API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="api"></div>
<script src="docs/swagger-ui.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""

_START = b"""SwaggerUIBundle({
  url: new URL("openapi.json", document.baseURI).href,
  dom_id: "#api",
  deepLinking: true,
  validatorUrl: null,
});
"""


@cache
def _document(prefix: str) -> bytes:
    """The OpenAPI document. It takes 15 ms, so it is made before anybody is served, and once for all nodes."""
    return msgspec.json.encode(openapi_document(OPERATIONS, prefix))


class Docs:
    """The document and the page of one node. `prefix` is the path that everything is also reachable below."""

    def __init__(self, prefix: str = "") -> None:
        self._document = _document(prefix)
        self._files: dict[str, bytes] = {}

    def table(self) -> Mapping[str, Callable[[], Answer]]:
        """Path -> page. `/swagger-ui.html` is where v1 has it (spec 2)."""
        assets = {path: partial(self.asset, name, kind) for path, (name, kind) in _ASSETS.items()}
        return {
            "/openapi.json": self.document,
            "/docs": self.page,
            "/swagger-ui.html": self.page,
            "/docs/start.js": self.start,
            **assets,
        }

    def document(self) -> Answer:
        """The OpenAPI document."""
        return Answer(200, self._document)

    def page(self) -> Answer:
        """The page that shows the document."""
        return Answer(200, _PAGE, (_POLICY, _SNIFF), b"text/html; charset=utf-8")

    def start(self) -> Answer:
        """The script that starts Swagger UI; the policy allows none inside the page."""
        return Answer(200, _START, (_SNIFF,), _SCRIPT)

    def asset(self, name: str, kind: bytes) -> Answer:
        """A file of Swagger UI, read when it is first asked for (2 MB together)."""
        content = self._files.get(name)
        if content is None:
            content = self._files[name] = files("offapi").joinpath(name).read_bytes()
        return Answer(200, content, (_SNIFF, (b"Cache-Control", b"max-age=86400")), kind)
