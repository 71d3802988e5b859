"""The DID documents that this service answers for: those of its local accounts, and its own."""

from typing import Any
from urllib.parse import unquote, urlsplit

_CONTEXT = "https://www.w3.org/ns/did/v1"


def account_document(did: str, handle: str, endpoint: str) -> dict[str, Any]:
    """The document of a local account; *endpoint* is the URL at which its PDS is. https://atproto.com/specs/did

    It names no key: nothing is signed here.
    """
    return {
        "@context": [_CONTEXT],
        "id": did,
        "alsoKnownAs": [f"at://{handle}"],
        "verificationMethod": [],
        "service": [_pds(endpoint)],
    }


def service_document(did: str, endpoint: str) -> dict[str, Any]:
    """The document of the service itself, so that others find it by its DID."""
    return {"@context": [_CONTEXT], "id": did, "service": [_pds(endpoint)]}


def names_host(document: dict[str, Any], host: str) -> bool:
    """Whether *host*, with or without a port, is that of the PDS in *document*, which may be anybody's."""
    services = document.get("service")
    for service in services if isinstance(services, list) else ():
        if isinstance(service, dict) and service.get("id") in (
            "#atproto_pds",
            f"{document.get('id')}#atproto_pds",
        ):
            # Not the whole URL: a proxy may speak https where we hear http.
            named = _host(str(service.get("serviceEndpoint")))
            return named is not None and named == _host(f"http://{host}")
    return False


def did_web_answers(did: str, host: str) -> bool:
    """Whether *host*, a name with or without a port, is where the document of *did* is asked for.

    A DID without a port leaves the port open: a proxy may listen on another.
    """
    if not did.startswith("did:web:") or did.count(":") != 2:
        return False
    named = unquote(did.removeprefix("did:web:")).lower()
    asked = host.lower()
    return named == asked or named == asked.rpartition(":")[0]


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _pds(endpoint: str) -> dict[str, str]:
    return {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": endpoint}
