"""The DID documents of this service and of its local accounts, and what a DID document says."""

from typing import Any
from urllib.parse import unquote, urlsplit

_CONTEXT = "https://www.w3.org/ns/did/v1"
# Characters of what is kept of somebody's document. A key has 90 at most, a URL here is an origin.
_MAX_KEPT = 2048


def account_document(did: str, handle: str, endpoint: str) -> dict[str, Any]:
    """The document of a local account; *endpoint* is the URL of its PDS.

    It names no key, because nothing is signed here. https://atproto.com/specs/did
    """
    return {
        "@context": [_CONTEXT],
        "id": did,
        "alsoKnownAs": [f"at://{handle}"],
        "verificationMethod": [],
        "service": [_pds(endpoint)],
    }


def service_document(did: str, endpoint: str) -> dict[str, Any]:
    """The document of the service itself; *endpoint* is its URL."""
    return {"@context": [_CONTEXT], "id": did, "service": [_pds(endpoint)]}


def essential(document: dict[str, Any], fragments: tuple[str, ...]) -> dict[str, Any]:
    """What is used of *document*, which may come from anybody and be large.

    Kept are its id, the verification methods that *fragments* name, and the PDS. Of several with
    one name, the first counts. What is too long to be used is kept without its contents.
    """
    did = document["id"]
    return {
        "id": did,
        "verificationMethod": [
            kept
            for fragment in fragments
            for kept in _kept(
                document.get("verificationMethod"), did, fragment, ("type", "publicKeyMultibase")
            )
        ],
        "service": _kept(document.get("service"), did, "atproto_pds", ("type", "serviceEndpoint")),
    }


def names_host(document: dict[str, Any], host: str) -> bool:
    """Whether the PDS in *document* is at *host*, with or without a port.

    The document may come from anybody.
    """
    endpoint = pds_endpoint(document)
    # The host alone: behind a proxy the scheme and the port may differ.
    named = None if endpoint is None else _host(endpoint)
    return named is not None and named == _host(f"http://{host}")


def pds_endpoint(document: dict[str, Any]) -> str | None:
    """The URL of the PDS in *document*, whatever text that is; None if it names none.

    The document may come from anybody.
    """
    services = document.get("service")
    for service in services if isinstance(services, list) else ():
        if isinstance(service, dict) and service.get("id") in (
            "#atproto_pds",
            f"{document.get('id')}#atproto_pds",
        ):
            return str(service.get("serviceEndpoint"))
    return None


def did_web_answers(did: str, host: str) -> bool:
    """Whether the document of *did* is served from *host*, a name with or without a port.

    A DID without a port matches any port, because a proxy may listen on another one.
    """
    if not did.startswith("did:web:") or did.count(":") != 2:
        return False
    named = unquote(did.removeprefix("did:web:")).lower()
    asked = host.lower()
    return named == asked or named == asked.rpartition(":")[0]


def _kept(entries: object, did: str, fragment: str, names: tuple[str, ...]) -> list[dict[str, str]]:
    """The entry of *fragment* among *entries*, with the texts under *names*; [] without one."""
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and entry.get("id") in (f"#{fragment}", f"{did}#{fragment}"):
            texts = {name: entry.get(name) for name in names}
            return [
                {"id": f"#{fragment}"}
                | {
                    name: text
                    for name, text in texts.items()
                    if isinstance(text, str) and len(text) <= _MAX_KEPT
                }
            ]
    return []


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _pds(endpoint: str) -> dict[str, str]:
    return {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": endpoint}
