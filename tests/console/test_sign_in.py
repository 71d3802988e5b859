"""Who may see the console, and for how long."""

import pytest
from support.accounts import ADMIN
from support.console import COOKIE, Console
from support.services import services_of

from aurora_blobs.auth.console import SESSION_SECONDS
from aurora_blobs.console.frame import MAX_FORM_BYTES

STATUS = "/xrpc/com.atproto.admin.getSubjectStatus?did=did:web:alice.test"
MUCH = "x" * 2 * MAX_FORM_BYTES


def is_signed_in(console):
    return console.client.get("/console").status_code == 200


def cookie_of(answer):
    return answer.headers["Set-Cookie"]


def test_without_a_session_every_page_leads_to_the_sign_in(visitor):
    answer = visitor.client.get("/console")

    assert answer.status_code == 303
    assert answer.headers["Location"] == "/console/sign-in?then=/console"
    assert visitor.client.get("/console/sign-in").status_code == 200


def test_the_password_of_the_administrator_begins_a_session(visitor):
    answer = visitor.sign_in()

    assert (answer.status_code, answer.headers["Location"]) == (303, "/console")
    assert is_signed_in(visitor)


def test_another_password_begins_none(visitor):
    answer = visitor.sign_in("open barley")

    assert answer.status_code == 401
    assert "This password is wrong" in answer.text
    assert "Set-Cookie" not in answer.headers
    assert not is_signed_in(visitor)


@pytest.mark.parametrize("settings", [{}, {"ADMIN_PASSWORD": "x", "CONSOLE": "off"}])
@pytest.mark.parametrize("path", ["/console", "/console/sign-in", "/console/static/console.css"])
def test_there_is_no_console_without_a_password_or_where_it_is_off(open_app, settings, path):
    assert open_app(**settings).test_client().get(path).status_code == 404


def test_guesses_at_the_sign_in_and_at_calls_count_together(open_app):
    app = open_app(ADMIN_PASSWORD="open sesame", FAILURES_PER_ADDRESS="3/1h")
    console = Console(app.test_client())
    app.test_client().get(STATUS, auth=("admin", "a"))

    answers = [console.sign_in(guess).status_code for guess in "bcde"]
    right = console.sign_in()

    assert answers == [401, 401, 429, 429]
    assert right.status_code == 429
    assert int(right.headers["Retry-After"]) > 0
    assert app.test_client().get(STATUS, auth=ADMIN).status_code == 429


def test_the_cookie_is_for_no_script_and_no_other_site(visitor):
    cookie = cookie_of(visitor.sign_in())

    assert cookie.startswith(f"{COOKIE}=")
    assert {"HttpOnly", "Path=/", "SameSite=Strict", f"Max-Age={SESSION_SECONDS}"} <= set(
        cookie.split("; ")
    )
    assert "Domain" not in cookie


def test_behind_tls_the_cookie_is_bound_to_host_and_tls(visitor):
    cookie = cookie_of(visitor.sign_in(base_url="https://blobs.test"))

    assert cookie.startswith(f"__Host-{COOKIE}=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Strict"} <= set(cookie.split("; "))


def test_a_session_ends_by_itself(console, clock):
    clock.advance(SESSION_SECONDS - 1)
    assert is_signed_in(console)

    clock.advance(1)

    assert not is_signed_in(console)


def test_a_session_that_was_ended_is_over_for_whoever_has_its_cookie(app, console):
    cookie = console.client.get_cookie(COOKIE).value

    answer = console.post("/sign-out")

    assert (answer.status_code, answer.headers["Location"]) == (303, "/console/sign-in")
    thief = Console(app.test_client())
    thief.client.set_cookie(COOKIE, cookie)
    assert not is_signed_in(thief)


def test_the_end_of_one_session_ends_no_other(app, console):
    other = Console(app.test_client())
    other.sign_in()

    console.post("/sign-out")

    assert is_signed_in(other)


def test_a_session_holds_in_every_process_of_the_service(open_app, tmp_path, visitor):
    one = open_app(ADMIN_PASSWORD="open sesame", DATA_DIR=str(tmp_path / "shared"))
    two = open_app(ADMIN_PASSWORD="open sesame", DATA_DIR=str(tmp_path / "shared"))
    here, there = Console(one.test_client()), Console(two.test_client())
    here.sign_in()

    there.client.set_cookie(COOKIE, here.client.get_cookie(COOKIE).value)
    assert is_signed_in(there)
    there.post("/sign-out")

    assert not is_signed_in(here)


@pytest.mark.parametrize(
    "changed",
    [{"ADMIN_PASSWORD": "another one"}, {"JWT_SECRET": "another secret of thirty-two bytes"}],
    ids=lambda changed: next(iter(changed)),
)
def test_a_new_password_or_secret_ends_every_session(open_app, tmp_path, changed):
    settings = {"ADMIN_PASSWORD": "open sesame", "DATA_DIR": str(tmp_path / "shared")}
    before = Console(open_app(**settings).test_client())
    before.sign_in()

    after = Console(open_app(**settings | changed).test_client())
    after.client.set_cookie(COOKIE, before.client.get_cookie(COOKIE).value)

    assert not is_signed_in(after)


@pytest.mark.parametrize(
    "cookie", ["", "a", "a.b.c", "é", "x" * 4000, "eyJhbGciOiJub25lIn0.e30.AA"]
)
def test_a_cookie_that_is_none_of_ours_is_no_session(visitor, cookie):
    visitor.client.set_cookie(COOKIE, cookie)

    assert not is_signed_in(visitor)


def test_a_token_of_an_account_is_no_session(app, visitor, alice):
    visitor.client.set_cookie(COOKIE, alice.token)

    assert not is_signed_in(visitor)


@pytest.mark.parametrize("token", [None, "", "é", "another"])
def test_a_form_without_the_token_of_its_session_does_nothing(console, token):
    fields = {} if token is None else {"token": token}

    answer = console.client.post("/console/sign-out", data=fields)

    assert answer.status_code == 400
    assert is_signed_in(console)


def test_a_form_of_another_session_does_nothing(app, console):
    other = Console(app.test_client())
    other.sign_in()

    answer = console.client.post("/console/sign-out", data={"token": other.token()})

    assert answer.status_code == 400
    assert is_signed_in(console)


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
def test_a_form_from_another_site_is_refused_and_counts_as_no_guess(open_app, site):
    console = Console(
        open_app(ADMIN_PASSWORD="open sesame", FAILURES_PER_ADDRESS="1/1h").test_client()
    )

    answers = [console.sign_in("a", headers={"Sec-Fetch-Site": site}) for _ in range(3)]

    assert {answer.status_code for answer in answers} == {400}
    assert console.sign_in(headers={"Sec-Fetch-Site": "same-origin"}).status_code == 303


def test_after_the_sign_in_the_page_that_was_asked_for_opens(visitor):
    asked = visitor.client.get("/console/gallery?type=image/png&after=1.did:web:a.test")
    then = asked.headers["Location"].partition("then=")[2]

    answer = visitor.client.post(f"/console/sign-in?then={then}", data={"password": "open sesame"})

    assert answer.headers["Location"] == "/console/gallery?type=image/png&after=1.did:web:a.test"


@pytest.mark.parametrize(
    "then",
    [
        "//evil.test",
        "https://evil.test",
        "/console@evil.test",
        "/console.evil.test",
        "/console\\evil",
        "/console/\r\nX: y",
        "/console/sign-out",
        "javascript:alert(1)",
    ],
)
def test_the_sign_in_leads_to_pages_of_the_console_alone(visitor, then):
    answer = visitor.client.post("/console/sign-in", data={"password": "open sesame", "then": then})

    assert (answer.status_code, answer.headers["Location"]) == (303, "/console")


@pytest.mark.parametrize(
    "fields",
    [{"password": MUCH}, {f"a{number}": "b" for number in range(5000)}],
    ids=["a long field", "many fields"],
)
def test_a_large_form_is_refused(visitor, fields):
    answer = visitor.client.post("/console/sign-in", data=fields)

    assert answer.status_code == 413
    assert f"{MAX_FORM_BYTES} bytes are accepted" in answer.text


def test_a_password_that_is_no_text_is_wrong(visitor):
    assert visitor.sign_in("\ud800".encode("utf-8", "surrogatepass")).status_code == 401


def test_a_slash_at_the_end_leads_to_the_first_page(console):
    assert console.client.get("/console/").headers["Location"] == "/console"


def test_what_is_not_there_is_a_page_that_says_so(console):
    answer = console.client.get("/console/nowhere<script>")

    assert (answer.status_code, answer.mimetype) == (404, "text/html")
    assert "&lt;script&gt;" in answer.text


def test_an_error_of_the_service_is_a_page(app, console, monkeypatch):
    services_of(app).config.data_folder.database.parent.joinpath("x").write_text("")
    monkeypatch.setattr(type(services_of(app).blobs), "totals", lambda self: 1 / 0)

    answer = console.client.get("/console")

    assert (answer.status_code, answer.mimetype) == (500, "text/html")
    assert answer.headers["X-Request-Id"] in answer.text
    assert "ZeroDivisionError" not in answer.text


def test_who_signs_in_and_who_guesses_is_in_the_log(visitor, log_lines):
    visitor.sign_in("open barley")
    visitor.sign_in()

    failed, signed_in = [line for line in log_lines() if " log" in line]
    assert " INFO aurora_blobs.requests log-in failed request=" in failed
    assert " address=127.0.0.1 verb=POST call=/console/sign-in status=401 " in failed
    assert " INFO aurora_blobs.requests logged in request=" in signed_in
    assert "open" not in "".join(log_lines())


def test_a_form_that_is_refused_is_in_the_log(console, log_lines):
    console.client.post("/console/sign-out", data={"token": "planted"})

    (line,) = [line for line in log_lines() if " refused " in line]
    assert " INFO aurora_blobs.requests refused request=" in line
    assert " call=/console/sign-out status=400 error=InvalidRequest " in line
    assert "planted" not in line
