"""The administrator in a browser: signs in, opens pages of the console, sends their forms."""

import re
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import urlencode

from flask.testing import FlaskClient

PASSWORD = "open sesame"
COOKIE = "aurora-console"


class Page(HTMLParser):
    """What a page says: `texts` without markup, `links`, `values` of data elements in order."""

    def __init__(self, text):
        super().__init__()
        self.texts = []
        self.links = []
        self.sources = []
        self.values = []
        self.tags = []
        self.rows = {}
        self._row = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append((tag, given))
        if "href" in given:
            self.links.append(given["href"])
        if "src" in given:
            self.sources.append(given["src"])
        for name in given:
            if tag in ("tr", "div", "dd", "li") and (name.startswith("data-") or name == "id"):
                self._row = self.rows.setdefault(given[name], [])
        if tag == "data":
            self.values.append(int(given["value"]))
            if self._row is not None:
                self._row.append(int(given["value"]))

    def handle_endtag(self, tag):
        if tag in ("tr", "div", "dd", "li"):
            self._row = None

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", "".join(self.texts))


class Browser:
    """Cookies and forms of a browser, for a `Console` of a real *server*."""

    def __init__(self, server):
        self._server = server
        self._cookies = {}

    def get(self, path):
        return self._kept(self._server.get(path, headers=self._cookies))

    def post(self, path, data):
        headers = {**self._cookies, "Content-Type": "application/x-www-form-urlencoded"}
        return self._kept(self._server.post(path, data=urlencode(data).encode(), headers=headers))

    def _kept(self, answer):
        for cookie in answer.headers.get_all("Set-Cookie", []):
            self._cookies = {"Cookie": cookie.partition(";")[0]}
        return answer


@dataclass
class Console:
    """The console of an application, by *client*, whose cookies are the browser's."""

    client: FlaskClient | Browser

    def sign_in(self, password=PASSWORD, **more):
        return self.client.post("/console/sign-in", data={"password": password}, **more)

    def get(self, path="", **more):
        """The answer to a page that has to be there."""
        answer = self.client.get(f"/console{path}", **more)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return answer

    def page(self, path=""):
        return Page(self.get(path).text)

    def token(self, path=""):
        return re.search(r'name="token" value="([^"]+)"', self.get(path).text)[1]

    def post(self, path, **fields):
        """The answer to a form with *fields*, sent from a page of this session."""
        return self.client.post(f"/console{path}", data={"token": self.token(), **fields})
