"""The bytes of each request."""

from __future__ import annotations

from harness.errors import LoadError
from harness.load.exchange import Endpoint
from harness.load.payload import PayloadBank, memory_id, space_name, user_id
from harness.load.plan import KEY_VARIABLE
from harness.model import Cue, Op
from harness.scenario.workload import Workload


def common_headers(endpoint: Endpoint, api_key: str | None) -> str:
    """What stands in the head of every request. Raises :class:`LoadError` for a key that no header can hold."""
    common = f"Host: {endpoint.authority}\r\nUser-Agent: engram-harness\r\nAccept: application/json\r\n"
    if not api_key:
        return common
    if not api_key.isprintable() or not api_key.isascii():
        raise LoadError("the key cannot stand in a header", where=KEY_VARIABLE, hint="plain ASCII, no line ends")
    return f"{common}Authorization: Bearer {api_key}\r\n"


class Requests:
    """Builds requests for one endpoint; everything that never changes is put together once."""

    def __init__(self, workload: Workload, bank: PayloadBank, endpoint: Endpoint, api_key: str | None) -> None:
        self._bank = bank
        self._prefix = endpoint.prefix.encode()
        spaces = workload.data.memory_spaces
        common = common_headers(endpoint, api_key)
        in_space = [f"x-memory-space: {space_name(space, spaces)}\r\n" for space in range(spaces)]
        self._common = [(common + (header if spaces > 1 else "")).encode() for header in in_space]
        self._recall_tail = b"&max_results=%d&include_metadata=true HTTP/1.1\r\n" % workload.max_results

    def build(self, op: int, item: int, space: int, user: int, cue: int, version: int) -> bytes:
        """One whole request; ``version`` is what a store writes."""
        common = self._common[space]
        name = user_id(user).encode()
        if op == Op.STORE:
            body = self._bank.remember_body(item, version, space)
            return self._post(b"/api/v1/memories/remember", body, common, name)
        if op == Op.READ:
            return b"GET %b/api/v1/memories/%b HTTP/1.1\r\n%bx-user-id: %b\r\n\r\n" % (
                self._prefix,
                memory_id(item).encode(),
                common,
                name,
            )
        if op == Op.DELETE:
            line = b"DELETE %b/api/v1/memories/%b HTTP/1.1\r\n" % (self._prefix, memory_id(item).encode())
            return b"%b%bx-user-id: %b\r\nContent-Length: 0\r\n\r\n" % (line, common, name)
        if op == Op.PATTERN_COMPLETION:
            body = b'{"partial_episode":{"known_fields":{"what":"%b"},"partial_embedding":%b,"cue_strength":0.8}}' % (
                self._bank.words(item).encode(),
                self._bank.partial_json(item),
            )
            return self._post(b"/api/v1/complete", body, common, name)
        if cue == Cue.TEXT:
            asked = b"query=" + self._bank.query_encoded(item)
        else:
            # Brackets must be escaped in a URL; commas, digits, points and minus signs need not be.
            asked = b"embedding=%%5B%b%%5D" % self._bank.vector_json(item, cue)[1:-1]
        parts = (b"GET ", self._prefix, b"/api/v1/memories/recall?", asked, self._recall_tail, common)
        return b"".join((*parts, b"x-user-id: ", name, b"\r\n\r\n"))

    def _post(self, path: bytes, body: bytes, common: bytes, user: bytes) -> bytes:
        line = b"POST %b%b HTTP/1.1\r\n%bx-user-id: %b\r\n" % (self._prefix, path, common, user)
        return b"%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (line, len(body), body)
