"""The calls for single objects, sent without what boto3 does anew for each call.

For each call boto3 resolves the address, checks the parameters and asks some forty handlers, and
comes to the same every time. So its own first call is looked at, and those after it go where that
one went: through the client's connections, signed by botocore.
"""

import re
import threading
from base64 import b64decode
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import quote

_METHODS = {"put_object": "PUT", "get_object": "GET", "head_object": "HEAD"}
# The headers that parameters become.
_HEADERS = {
    "ChecksumMode": "x-amz-checksum-mode",
    "ChecksumSHA256": "x-amz-checksum-sha256",
    "ContentLength": "Content-Length",
    "ContentType": "Content-Type",
    "IfNoneMatch": "If-None-Match",
    "Range": "Range",
}
# The parts of the answer that headers become.
_ANSWERS = {
    "ContentRange": "content-range",
    "ETag": "etag",
    "ChecksumSHA256": "x-amz-checksum-sha256",
}
# The bucket is elsewhere, or perhaps in another region, where boto3 looks for it.
_PERHAPS_ELSEWHERE = {301, 302, 307, 400}
_NOTHING = sha256(b"").hexdigest()
# Bytes of a body that is sent with its head. A larger one waits until the store has asked for it.
_AT_ONCE = 64 * 1024
_SCOPE = re.compile(r"AWS4-HMAC-SHA256 Credential=[^/]+/[0-9]{8}/([^/]+)/s3/aws4_request,")


@dataclass(frozen=True, slots=True)
class _Route:
    """Where boto3 has sent a call: the URL before the key, the region that it signed for."""

    url: str
    region: str
    user_agent: str


class DirectCalls:
    """A boto3 *client* of the boto3 *session*, for threads."""

    def __init__(self, client: Any, session: Any) -> None:
        self.client = client
        self._session = session
        self._routes: dict[str, _Route] = {}  # by bucket
        self._sent = threading.local()
        # Not documented. Where a later botocore has none, all calls are its own.
        self._http: Any = getattr(getattr(client, "_endpoint", None), "http_session", None)
        client.meta.events.register("before-send.s3", self._note)

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """The answer to *operation*, named as boto3's method; raises what that raises."""
        from botocore.exceptions import ClientError

        route = self._routes.get(parameters["Bucket"])
        if route is not None and _is_direct(operation, parameters):
            response = self._send(route, operation, parameters)
            if response.status_code < 300:
                return _answer(operation, response)
            if response.status_code not in _PERHAPS_ELSEWHERE:
                raise ClientError(_error(response), operation)
            response.raw.close()
            self._routes.pop(parameters["Bucket"], None)
            if "Body" in parameters:
                parameters["Body"].seek(0)
        answer = dict(getattr(self.client, operation)(**parameters))
        if operation in _METHODS and self._http is not None:
            self._learn(parameters["Bucket"], parameters["Key"])
        return answer

    def _note(self, request: Any, **_: object) -> None:
        self._sent.request = request

    def _learn(self, bucket: str, key: str) -> None:
        request = self._sent.request
        scope = _SCOPE.match(_text(request.headers.get("Authorization")))
        quoted = quote(key, safe="/~")
        if scope is not None and request.url.endswith(f"/{quoted}"):
            url = request.url[: -len(quoted)]
            self._routes[bucket] = _Route(url, scope[1], _text(request.headers["User-Agent"]))

    def _send(self, route: _Route, operation: str, parameters: dict[str, Any]) -> Any:
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest

        body = parameters.get("Body")
        headers = {
            header: str(parameters[name]) for name, header in _HEADERS.items() if name in parameters
        }
        headers["User-Agent"] = route.user_agent
        payload = _NOTHING
        if body is not None:
            payload = b64decode(parameters["ChecksumSHA256"]).hex()
            if parameters["ContentLength"] <= _AT_ONCE:
                body = body.read()
            else:
                headers["Expect"] = "100-continue"
        request = AWSRequest(
            _METHODS[operation],
            route.url + quote(parameters["Key"], safe="/~"),
            headers,
            body,
            stream_output=operation == "get_object",
        )
        credentials = self._session.get_credentials().get_frozen_credentials()
        auth: Any = S3SigV4Auth(credentials, "s3", route.region)
        auth.payload = lambda request: payload
        auth.add_auth(request)
        return self._http.send(request.prepare())


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _is_direct(operation: str, parameters: dict[str, Any]) -> bool:
    known = _HEADERS.keys() | {"Bucket", "Key", "Body"}
    is_signed = "Body" not in parameters or "ChecksumSHA256" in parameters
    return operation in _METHODS and is_signed and parameters.keys() <= known


def _answer(operation: str, response: Any) -> dict[str, Any]:
    from botocore.response import StreamingBody

    headers = response.headers
    answer = {name: headers[header] for name, header in _ANSWERS.items() if header in headers}
    length = headers.get("content-length")
    if length is not None:
        answer["ContentLength"] = int(length)
    answer["ResponseMetadata"] = {"HTTPStatusCode": response.status_code}
    if operation == "get_object":
        answer["Body"] = StreamingBody(response.raw, length)
    return answer


def _error(response: Any) -> Any:
    from botocore.parsers import create_parser

    found = {
        "status_code": response.status_code,
        "headers": response.headers,
        "body": response.content,
    }
    parser: Any = create_parser("rest-xml")
    return parser.parse(found, None)
