"""What a browser gets at the address of the service."""

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser

import pytest

from aurora_blobs import __version__


class Page(HTMLParser):
    """The tags of a page with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


@pytest.fixture
def front(client):
    answer = client.get("/")
    assert (answer.status_code, answer.content_type) == (200, "text/html; charset=utf-8")
    return answer


def test_the_page_says_what_this_is_in_which_version(front):
    assert f"<h1>aurora_blobs {__version__}</h1>" in front.text
    assert "<code>did:web:localhost</code>" in front.text
    assert len(front.data) < 2000


def test_each_link_of_the_page_to_the_service_leads_somewhere(front, client):
    links = [attributes["href"] for tag, attributes in Page(front.text).tags if tag == "a"]
    own = [link for link in links if link.startswith("/")]

    assert own[0] == "/xrpc/_health"
    assert [client.get(link, follow_redirects=True).status_code for link in own] == [200] * 3


def test_the_page_leads_to_the_console_where_there_is_one(front, open_app):
    assert 'href="/console"' in front.text
    assert "/console" not in open_app().test_client().get("/").text


def test_the_page_loads_nothing_and_runs_nothing(front):
    tags = Page(front.text).tags

    assert {tag for tag, _ in tags} & {"script", "img", "link", "iframe", "form"} == set()
    assert [name for _, attributes in tags for name in attributes if name.startswith("on")] == []
    assert "src" not in {name for _, attributes in tags for name in attributes}


def test_the_policy_allows_the_style_of_the_page_alone(front):
    [style] = re.findall("<style>(.*?)</style>", front.text)
    digest = b64encode(sha256(style.encode()).digest()).decode()

    rules = front.headers["Content-Security-Policy"].split("; ")

    assert rules[:2] == ["default-src 'none'", f"style-src 'sha256-{digest}'"]
    assert {"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"} == set(rules[2:])
    assert front.headers["X-Content-Type-Options"] == "nosniff"


def test_what_browsers_and_crawlers_ask_for_is_there(client):
    robots, icon = client.get("/robots.txt"), client.get("/favicon.ico")

    assert (robots.status_code, robots.text) == (200, "User-agent: *\nAllow: /\n")
    assert robots.content_type.startswith("text/plain")
    assert (icon.status_code, icon.data) == (204, b"")


@pytest.mark.parametrize("path", ["/", "/robots.txt", "/favicon.ico"])
def test_it_can_only_be_read(client, path):
    assert client.head(path).status_code in (200, 204)
    assert client.post(path).status_code == 405
