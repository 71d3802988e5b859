"""Who may sign up at the address that is really bound, and through the shipped nginx."""

import pytest
from support.accounts import ADMIN, ALICE, sign_up
from support.live_service import Service
from support.nginx import shipped
from support.ports import free_port

pytestmark = pytest.mark.live

DESCRIBE = "/xrpc/com.atproto.server.describeServer"
BY_DEFAULT = {"AURORA_BLOBS_SIGNUPS": ""}


def wants_code(client):
    return client.get(DESCRIBE).json["inviteCodeRequired"]


def test_an_address_of_the_command_line_closes_what_the_settings_call_local(tmp_path):
    everywhere = f"0.0.0.0:{free_port()}"
    binds = ("-b", f"unix:{tmp_path}/sock", "-b", everywhere)
    bind = {"AURORA_BLOBS_BIND": f"unix:{tmp_path}/sock"}

    with Service(tmp_path, *binds, **bind, **BY_DEFAULT) as service:
        assert wants_code(service)
        with pytest.raises(AssertionError, match="InvalidInviteCode"):
            sign_up(service)


def test_a_service_that_is_open_to_the_network_warns_at_its_start(tmp_path):
    everywhere = ("-b", f"unix:{tmp_path}/sock", "-b", f"0.0.0.0:{free_port()}")
    bind = {"AURORA_BLOBS_BIND": f"unix:{tmp_path}/sock"}

    with Service(tmp_path, *everywhere, **bind, AURORA_BLOBS_SIGNUPS="open") as service:
        assert not wants_code(service)

    assert "AURORA_BLOBS_SIGNUPS=open and QUOTA=0" in service.log


def test_this_machine_alone_signs_up_without_a_code(tmp_path):
    with Service(tmp_path, **BY_DEFAULT) as service:
        assert not wants_code(service)
        assert sign_up(service).did == ALICE


def test_behind_nginx_the_administrator_lets_people_in_and_sets_their_passwords(tmp_path):
    socket = tmp_path / "sock"
    settings = {
        "AURORA_BLOBS_BIND": f"unix:{socket}",
        "AURORA_BLOBS_PROXY_HOPS": "1",
        "AURORA_BLOBS_ADMIN_PASSWORD": ADMIN[1],
    }
    nginx = shipped(tmp_path / "nginx", socket, tmp_path / "data" / "blobs")
    with Service(tmp_path, **settings, **BY_DEFAULT), nginx:
        wanted = wants_code(nginx)
        code = nginx.post(
            "/xrpc/com.atproto.server.createInviteCode", json={"useCount": 1}, auth=ADMIN
        ).json["code"]
        member = sign_up(nginx, invite_code=code)
        changed = nginx.post(
            "/xrpc/com.atproto.admin.updateAccountPassword",
            json={"did": ALICE, "password": "battery staple"},
            auth=ADMIN,
        )
        session = member.get("com.atproto.server.getSession")

    assert wanted
    assert changed.status_code == 200
    assert session.json["error"] == "ExpiredToken"
