"""What every answer tells pages of other origins: they may read it, and which of its headers.

https://fetch.spec.whatwg.org/#http-access-control-expose-headers
"""

# A star would do for calls without credentials alone. deploy/nginx.conf has the same list.
EXPOSED = ", ".join(
    [
        "Accept-Ranges",
        "Content-Disposition",
        "Content-Length",
        "Content-Range",
        "DPoP-Nonce",
        "ETag",
        "RateLimit-Limit",
        "RateLimit-Policy",
        "RateLimit-Remaining",
        "RateLimit-Reset",
        "Retry-After",
        "WWW-Authenticate",
        "X-Request-Id",
    ]
)
HEADERS = (("Access-Control-Allow-Origin", "*"), ("Access-Control-Expose-Headers", EXPOSED))
