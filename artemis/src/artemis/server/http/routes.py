"""Which operation a request names: paths and methods, from the operation table. No I/O."""

from __future__ import annotations

from urllib.parse import parse_qsl

from artemis.server.admin import AdminGuard
from artemis.server.http.answer import Answer, preflight, problem
from artemis.server.http.head import RequestHead
from artemis.server.operations import OPERATIONS, Operation, Query
from artemis.server.operators import has_token

#: v1 clients speak below the node URL, v2 clients below /artemis (spec section 2).
PREFIXES = (b"/api/", b"/artemis/api/")


class Routes:
    """Path -> operation, and the checks that come before a body is looked at.

    `prefix` is a path that everything is also reachable below, empty for none; `guard` judges who may do what
    operators do.
    """

    def __init__(
        self, operations: tuple[Operation, ...] = OPERATIONS, *, prefix: str = "", guard: AdminGuard | None = None
    ) -> None:
        self._prefix = prefix.encode()
        self._guard = guard or AdminGuard()
        self._by_path = {
            start + family + path.encode(): op
            for start in {b"", self._prefix}
            for family in PREFIXES
            for op in operations
            for path in (op.path, *op.aliases)
        }

    def without_prefix(self, path: bytes) -> bytes:
        """The path as it would be asked for without the configured prefix."""
        prefix = self._prefix
        if not prefix or not path.startswith(prefix):
            return path
        rest = path[len(prefix) :]
        return rest if rest.startswith(b"/") else path if rest else b"/"

    def find(self, path: bytes) -> Operation | None:
        """The operation at exactly this path, or None."""
        return self._by_path.get(path)

    def refuse(self, operation: Operation, head: RequestHead, body_limit: int) -> Answer | None:
        """What to answer without reading the body, or None when the request may go on.

        405 with `Allow` for other methods, 415 for a body that says it is not JSON or is packed in an unknown way, 413
        for a length over `body_limit` bytes, 401 and 403 when it is for operators; a CORS preflight gets its 200 here.
        """
        refusal = self._refuse(operation, head, body_limit)
        if not operation.admin:
            return refusal
        if refusal is None or refusal.status == 200:
            refusal = self._deny(operation, head) or refusal
        return None if refusal is None else refusal.for_operators()

    def _deny(self, operation: Operation, head: RequestHead) -> Answer | None:
        """401 or 403 for an operation of operators. A preflight carries no token, so it is judged by its page alone.

        So is a request that may carry the token in its body, which nobody has read yet; see `operators`.
        """
        denial = self._guard.judge_page(head.origin, head.host, secure=head.secure)
        if denial is None and head.method != b"OPTIONS" and not has_token(operation):
            denial = self._guard.judge(head.token)
        if denial is None:
            return None
        if denial.can_help:
            return problem(401, denial.text, (b"WWW-Authenticate", b'Bearer realm="artemis"'))
        return problem(403, denial.text)

    def _refuse(self, operation: Operation, head: RequestHead, body_limit: int) -> Answer | None:
        allowed = b"GET, HEAD, OPTIONS, POST" if operation.from_query else b"OPTIONS, POST"
        match head.method:
            case b"POST":
                pass
            case b"GET" | b"HEAD" if operation.from_query:
                return None
            case b"OPTIONS":
                return preflight(head.preflight_method, head.preflight_headers)
            case _:
                text = f"{head.method.decode('ascii', 'replace')} is not possible here; use {allowed.decode()}"
                return problem(405, text, (b"Allow", allowed))
        if not head.json_body:
            return problem(415, "the body must be JSON: send Content-Type: application/json")
        if head.encoding not in {b"", b"identity", b"gzip", b"x-gzip"}:
            return problem(415, "the body may be packed with gzip only: send Content-Encoding: gzip or none")
        if head.body_length is not None and head.body_length > body_limit:
            return too_large(body_limit)
        return None


def too_large(body_limit: int) -> Answer:
    """413, for a body beyond the limit in bytes, packed or unpacked. The rest of it is not read, so the connection
    ends."""
    text = f"the body may have {body_limit} bytes at most, also after unpacking; send fewer instances per request"
    return problem(413, text, close=True)


def query_fields(query: bytes) -> Query:
    """The parameters of a query. Undecodable bytes become U+FFFD."""
    text = query.decode("utf-8", "replace")
    return Query(parse_qsl(text, keep_blank_values=True, encoding="utf-8", errors="replace"))
