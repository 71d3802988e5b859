"""deploy/nginx.conf serves kept thumbnails by links, as the service would have."""

import re
import threading

import pytest
from support.accounts import set_takedown, take_down
from support.media_samples import picture
from support.nginx import in_front, service_behind, without_service
from support.project import DEPLOY

from aurora_blobs.thumbnails.presets import WRITABLE

pytestmark = [pytest.mark.live, pytest.mark.sqlite]  # no links are made with PostgreSQL

ASKED = "?asked=1"  # so that nginx asks the service
PRESETS = ["avatar", "avatar_thumbnail", "banner", "feed_thumbnail", "feed_fullsize"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def service(folder):
    with serving(folder) as service:
        yield service


def serving(folder, **more):
    return service_behind(
        folder,
        AURORA_BLOBS_ADMIN_PASSWORD="open sesame",
        **{"AURORA_BLOBS_ACCEL_REDIRECT": "/_blobs/"} | more,
    )


@pytest.fixture(scope="module")
def nginx(folder, service):
    with in_front(service, folder / "nginx") as nginx:
        yield nginx


@pytest.fixture(scope="module")
def alone(folder):
    """nginx without a service: it serves what has a link, and else answers 502."""
    with without_service(folder) as alone:
        yield alone


@pytest.fixture(scope="module")
def account(service):
    return service.account()


def path_of(account, cid, preset="avatar", form="webp"):
    return f"/img/{preset}/plain/{account.did}/{cid}@{form}"


def linked(nginx, alone, path, **request):
    """The answer of *alone* once there is a link. A period may end in between."""
    answers = []
    for _ in range(3):
        assert [nginx.get(path).status_code for _ in range(2)] == [200, 200]
        answers.append(alone.open(path, **{"method": "GET"} | request))
    return next((answer for answer in answers if answer.status_code == 200), answers[-1])


def lasting(answer):
    """The headers of *answer* but for those of each one's own."""
    own = ("Date", "X-Request-Id")
    return sorted(item for item in answer.headers.items() if item[0] not in own)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("form", WRITABLE)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_thumbnail_with_a_link_is_served_as_by_the_service(
    nginx, alone, account, preset, form, method
):
    cid = account.publish(picture("PNG"), "image/png").cid
    path = path_of(account, cid, preset, form)

    opened = linked(nginx, alone, path, method=method)
    asked = nginx.open(path + ASKED, method=method)

    assert asked.status_code == opened.status_code == 200
    assert opened.headers["Content-Type"] == WRITABLE[form]
    assert opened.headers.get_all("Cache-Control") == ["public, max-age=300, must-revalidate"]
    assert opened.headers.get_all("X-Content-Type-Options") == ["nosniff"]
    assert opened.headers.get_all("Content-Security-Policy") == ["default-src 'none'; sandbox"]
    assert opened.headers.get_all("Access-Control-Allow-Origin") == ["*"]
    assert asked.data == opened.data and bool(opened.data) == (method == "GET")
    assert lasting(asked) == lasting(opened)


@pytest.mark.parametrize(
    "headers",
    [
        {"Range": "bytes=0-9"},
        {"Range": "bytes=99999999-"},
        {"Range": "bytes=0-0,5-6", "If-Range": '"x"'},
        {"If-Modified-Since": "Tue, 01 Jan 2999 00:00:00 GMT"},
        {"Accept": "text/html"},
        {"Accept-Encoding": "gzip"},
    ],
    ids=str,
)
def test_what_the_service_passes_over_nginx_passes_over(nginx, alone, account, headers):
    path = path_of(account, account.publish(picture("JPEG")).cid)

    opened = linked(nginx, alone, path, headers=headers)
    asked = nginx.get(path + ASKED, headers=headers)

    assert (opened.status_code, opened.data) == (asked.status_code, asked.data)
    assert lasting(opened) == lasting(asked)


def test_a_thumbnail_with_a_link_is_found_for_an_encoded_did(nginx, alone, account):
    path = path_of(account, account.publish(picture("JPEG")).cid)

    opened = linked(nginx, alone, path.replace(account.did, account.did.replace(":", "%3A")))

    assert opened.status_code == 200


@pytest.mark.parametrize(
    "method, changed, headers",
    [
        ("GET", "", {"Authorization": "Bearer x"}),
        ("GET", "", {"If-None-Match": '"x"'}),
        ("GET", "", {"If-Match": '"x"'}),
        ("GET", "", {"If-Unmodified-Since": "Tue, 01 Jan 2019 00:00:00 GMT"}),
        ("POST", "", {}),
        ("GET", "?x=1", {}),
        ("GET", "/", {}),
        ("GET", "x", {}),
    ],
)
def test_nginx_asks_about_what_it_would_answer_differently(
    nginx, alone, account, method, changed, headers
):
    path = path_of(account, account.publish(picture("JPEG")).cid)
    assert linked(nginx, alone, path).status_code == 200

    assert alone.open(path + changed, method=method, headers=headers).status_code == 502


def test_a_client_that_has_the_thumbnail_of_a_link_is_not_sent_it_again(nginx, alone, account):
    path = path_of(account, account.publish(picture("JPEG")).cid)
    tag = linked(nginx, alone, path).headers["ETag"]

    again = nginx.get(path, headers={"If-None-Match": tag})

    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag)


def test_a_takedown_and_its_lift_hold_from_their_answers_on(nginx, alone, service, account):
    bob = service.account("bobby.test")
    cid = account.publish(picture("GIF"), "image/gif").cid
    bob.publish(picture("GIF"), "image/gif")
    path, other = path_of(account, cid), path_of(bob, cid)
    for _ in range(20):
        assert [linked(nginx, alone, each).status_code for each in (path, other)] == [200, 200]

        take_down(service, account.did, cid)
        assert (alone.get(path).status_code, nginx.get(path).status_code) == (502, 400)
        assert nginx.get(other).status_code == 200

        assert set_takedown(service, account.did, cid, False).status_code == 200
    assert nginx.get(path).status_code == 200


def test_a_takedown_holds_while_others_ask_all_the_time(nginx, alone, service, account):
    cid = account.publish(picture("WEBP"), "image/webp").cid
    path = path_of(account, cid)
    done, answers = threading.Event(), []

    def ask():
        while not done.is_set():
            answers.append(nginx.get(path).status_code)

    strangers = [threading.Thread(target=ask) for _ in range(4)]
    for stranger in strangers:
        stranger.start()
    try:
        for _ in range(50):
            take_down(service, account.did, cid)
            assert [alone.get(path).status_code for _ in range(3)] == [502] * 3
            set_takedown(service, account.did, cid, False)
            assert linked(nginx, alone, path).status_code == 200
    finally:
        done.set()
        for stranger in strangers:
            stranger.join()

    assert set(answers) == {200, 400}


def test_an_evicted_thumbnail_is_made_again(nginx, alone, service, account):
    path = path_of(account, account.publish(picture("JPEG")).cid)
    shown = linked(nginx, alone, path).data
    for kept in (service.folder / "data" / "images").glob("??/*"):
        kept.unlink()

    assert alone.get(path).status_code == 502
    assert nginx.get(path).data == shown


def test_a_size_that_the_operator_changes_holds_at_the_first_request(tmp_path):
    with without_service(tmp_path) as alone:
        with serving(tmp_path) as service, in_front(service, tmp_path / "nginx") as nginx:
            account = service.account()
            path = path_of(account, account.publish(picture("JPEG")).cid)
            assert linked(nginx, alone, path).status_code == 200
        assert alone.get(path).status_code == 200

        changed = {"AURORA_BLOBS_IMAGE_PRESETS": "avatar=cover:8x8"}
        with serving(tmp_path, **changed) as service, in_front(service, tmp_path / "next") as nginx:
            answers = [nginx.get(path) for _ in range(3)]
            assert alone.get(path).status_code == 502

    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["ETag"].rsplit(".", 2)[1] for answer in answers} == {"cover-8x8"}


def test_a_preset_of_the_operator_is_found_with_a_line_for_it(tmp_path):
    line = ("        avatar           cover-1000x1000;", "        card inside-8x8;")
    own = {"AURORA_BLOBS_IMAGE_PRESETS": "card=inside:8x8"}
    with (
        serving(tmp_path, **own) as service,
        in_front(service, tmp_path / "nginx") as nginx,
        without_service(tmp_path, line) as alone,
    ):
        account = service.account()
        path = path_of(account, account.publish(picture("JPEG")).cid, "card")
        opened = linked(nginx, alone, path)
        asked = nginx.get(path)

    assert (opened.status_code, lasting(opened)) == (200, lasting(asked))


def test_an_nginx_of_an_older_configuration_serves_thumbnails_through_the_service(tmp_path):
    block = r"        location /img/ \{\n.*?\n        \}\n"
    (shelf,) = re.findall(block, (DEPLOY / "nginx.conf").read_text(), re.DOTALL)
    shelf = shelf.replace("/var/lib/aurora-blobs/public", f"{tmp_path}/service/data/public")
    older = (shelf, "        location /img/ { proxy_pass http://aurora_blobs; }\n")
    with (
        serving(tmp_path) as service,
        in_front(service, tmp_path / "nginx", older) as nginx,
    ):
        account = service.account()
        path = path_of(account, account.publish(picture("JPEG")).cid)
        answers = [nginx.get(path) for _ in range(3)]
        take_down(service, account.did, path.split("/")[-1].partition("@")[0])
        hidden = nginx.get(path)

    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({answer.data for answer in answers}) == 1
    assert hidden.status_code == 400


def test_a_killed_service_leaves_links_that_the_next_one_takes_back(tmp_path):
    with without_service(tmp_path) as alone:
        with serving(tmp_path) as service, in_front(service, tmp_path / "nginx") as nginx:
            account = service.account()
            cid = account.publish(picture("JPEG")).cid
            path = path_of(account, cid)
            assert linked(nginx, alone, path).status_code == 200
            service.kill()
        assert alone.get(path).status_code == 200

        with serving(tmp_path) as service:
            take_down(service, account.did, cid)
            assert alone.get(path).status_code == 502
