"""docs/debian.md as printed, in a fresh Debian.

What needs a public name is not run: in place of certbot's, there is a certificate of the test's.
"""

import json
import shutil

import pytest
from packaging.version import Version
from support.debian_root import NAME, PYTHONS, DebianRoot
from support.live_service import becomes
from support.pages import blocks
from support.project import DOCS, PHOTO

import aurora_blobs

pytestmark = pytest.mark.live

PAGE = blocks(DOCS / "debian.md", "sh")
# The file that the page names: before the release its version ends in ".dev0".
RELEASE = f"aurora_blobs-{Version(aurora_blobs.__version__).base_version}-py3-none-any.whl"
XRPC = f"https://{NAME}/xrpc"
# What certbot would have fetched, where it puts it. curl trusts it.
CERTIFICATE = f"""
cd /etc/letsencrypt
mkdir -p live/{NAME}
openssl req -x509 -newkey rsa:2048 -nodes -days 2 \
    -subj /CN={NAME} -addext subjectAltName=DNS:{NAME} \
    -out live/{NAME}/fullchain.pem -keyout live/{NAME}/privkey.pem
echo 'cacert = "/etc/letsencrypt/live/{NAME}/fullchain.pem"' > ~/.curlrc
"""
# Another machine, at the other end of a cable, runs what comes after it.
FROM_OUTSIDE = """
unshare --net sleep 60 &
outside=$!
trap "ip link del inner; kill $outside" EXIT
until [ "$(readlink /proc/$outside/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do sleep 0.1; done
ip link add inner type veth peer name outer netns $outside
ip addr add 192.0.2.1/24 dev inner
ip -6 addr add fe80::1/64 dev inner nodad
ip -6 addr add 2001:db8::1/64 dev inner nodad
ip link set inner up
outside() { nsenter --target $outside --net "$@"; }
outside ip addr add 192.0.2.2/24 dev outer
outside ip -6 addr add fe80::2/64 dev outer nodad
outside ip -6 addr add 2001:db8::2/64 dev outer nodad
outside ip link set outer up
"""
REQUEST = """
outside curl -sS -o /dev/null -w '%{http_code}' --connect-timeout 3 \
    --connect-to ::192.0.2.1: URL/xrpc/_health 2>&1 || true
"""
# What a DHCPv6 server says, from port 547 of each of its addresses; who is heard at port 546.
DHCPV6 = """
cat > listen.py <<END
import socket
listening = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
listening.bind(("::", 546))
listening.settimeout(30)
open("listens", "w").close()
try:
    while True:
        print(listening.recvfrom(100)[1][0].partition("%")[0], flush=True)
        listening.settimeout(2)
except TimeoutError:
    pass
END
cat > send.py <<END
import socket
for source, target in [("2001:db8::2", "2001:db8::1"), ("fe80::2", "fe80::1")]:
    link = socket.if_nametoindex("outer") if source[0] == "f" else 0
    sending = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sending.bind((source, 547, 0, link))
    sending.sendto(b"reply", (target, 546, 0, link))
END
python3 listen.py &
listening=$!
until [ -e listens ]; do sleep 0.1; done
outside python3 send.py
wait $listening
"""
CHALLENGE = f"http://{NAME}/.well-known/acme-challenge/the-token_1"


class Machine(DebianRoot):
    """The fresh Debian on which the page has been read."""

    wheel: str  # its file's name
    challenge_before_https: str
    invite_code: str

    def read_page(self) -> None:
        [https] = [number for number, block in enumerate(PAGE) if "#tls" in block]

        printed = [self.follow(block) for block in PAGE[:https]]
        self.challenge_before_https = self.answer_to_challenge()
        self.run(CERTIFICATE)
        printed += [self.follow(block) for block in PAGE[https:]]

        [said] = [said for block, said in zip(PAGE, printed, strict=True) if "invite" in block]
        self.invite_code = said.split()[0]

    def follow(self, block: str) -> str:
        return self.run(block.replace(RELEASE, self.wheel), network="apt-get" in block).stdout

    def answer_to_challenge(self) -> str:
        self.write("srv/acme/.well-known/acme-challenge/the-token_1", "the-token_1.thumbprint")
        return self.curl(CHALLENGE)

    def curl(self, *words: str) -> str:
        return self.run(f"curl -sS {' '.join(words)}").stdout

    def status(self, *words: str) -> str:
        """The status of the answer, and where it leads."""
        return self.curl("-o /dev/null -w '%{http_code} %{redirect_url}'", *words).strip()

    def post(self, method: str, *words: str, **body: object) -> dict[str, object]:
        sent = ["-H 'Content-Type: application/json'", f"-d '{json.dumps(body)}'"] if body else []
        return json.loads(self.curl("--fail-with-body -X POST", *sent, *words, f"{XRPC}/{method}"))

    def setting(self, name: str) -> str:
        return self.run(f". /etc/aurora-blobs.env; echo ${name}").stdout.strip()


@pytest.fixture(scope="module", params=PYTHONS, ids=lambda version: f"Debian {version}")
def machine(wheel, tmp_path_factory, request):
    with Machine(tmp_path_factory.mktemp("debian") / "root", request.param) as machine:
        shutil.copy(wheel, machine.folder / "root")
        machine.wheel = wheel.name
        machine.download(f"{wheel}[brotli,images,s3]")
        machine.read_page()
        yield machine


@pytest.fixture(scope="module")
def alice(machine):
    """The words that let an account in that the invite code has made."""
    account = machine.post(
        "com.atproto.server.createAccount",
        handle=f"alice.{NAME}",
        email="alice@example.com",
        password="correct horse",
        inviteCode=machine.invite_code,
    )
    return account["did"], f"-H 'Authorization: Bearer {account['accessJwt']}'"


@pytest.fixture(scope="module")
def photo(machine, alice):
    """The address of a photo that the account has published, and its CID."""
    did, token = alice
    shutil.copy(PHOTO, machine.folder / "root" / "photo.jpg")
    sent = "-H 'Content-Type: image/jpeg' --data-binary @photo.jpg"
    blob = machine.post("com.atproto.repo.uploadBlob", token, sent)["blob"]
    machine.post(
        "com.atproto.repo.createRecord",
        token,
        repo=did,
        collection="com.example.photo",
        record={"$type": "com.example.photo", "photo": blob},
    )
    cid = blob["ref"]["$link"]
    return f"'{XRPC}/com.atproto.sync.getBlob?did={did}&cid={cid}'", cid


def test_certbot_s_challenge_is_answered_before_there_is_a_certificate_and_after(machine):
    assert machine.challenge_before_https == "the-token_1.thumbprint"
    assert machine.answer_to_challenge() == "the-token_1.thumbprint"
    assert machine.status(CHALLENGE + "x") == "404"


@pytest.mark.parametrize(
    "path", ["/", "/xrpc/_health", "/.well-known/did.json", "/_error", "/img/x"]
)
def test_http_leads_to_https(machine, path):
    assert machine.status(f"http://{NAME}{path}?a=b") == f"308 https://{NAME}{path}?a=b"


def test_an_upload_over_http_is_led_to_https_whole(machine, alice, photo):
    sent = "-H 'Content-Type: image/jpeg' --data-binary @photo.jpg --location-trusted"
    answer = machine.curl(alice[1], sent, f"http://{NAME}/xrpc/com.atproto.repo.uploadBlob")

    assert json.loads(answer)["blob"]["ref"]["$link"] == photo[1]


def test_a_blob_comes_back_whole_and_in_part(machine, photo):
    url, _ = photo

    for asked in ("first", "by the link that nginx finds"):
        machine.curl(url, "-o got.jpg")
        machine.curl(url, "-r 5-9 -o part")
        assert (machine.folder / "root" / "got.jpg").read_bytes() == PHOTO.read_bytes(), asked
        assert (machine.folder / "root" / "part").read_bytes() == PHOTO.read_bytes()[5:10], asked
    assert machine.status(url, "-r 5-9").startswith("206")
    assert machine.run("find /var/lib/aurora-blobs/public -type l").stdout != ""


def test_a_thumbnail_that_is_kept_is_sent_by_nginx_itself(machine, alice, photo):
    url = f"https://{NAME}/img/avatar_thumbnail/plain/{alice[0]}/{photo[1]}@webp"

    assert [machine.status(url) for _ in range(3)] == ["200"] * 3

    log = machine.folder / "var" / "log" / "nginx" / "access.log"

    def logged():
        return [line for line in log.read_text().splitlines() if "/img/avatar_thumbnail/" in line]

    assert becomes(lambda: len(logged()) == 3)  # it is written once a second
    assert ' upstream_seconds="-" ' in logged()[-1]


def test_an_account_is_found_at_its_own_name(machine, alice):
    found = machine.curl(f"-k --connect-to ::{NAME}: https://alice.{NAME}/.well-known/did.json")

    document = json.loads(found)
    assert document["id"] == alice[0] == f"did:web:alice.{NAME}"
    assert document["service"][0]["serviceEndpoint"] == f"https://{NAME}"


def test_the_units_and_the_site_are_faultless(machine):
    units = machine.run("/usr/bin/systemd-analyze verify /etc/systemd/system/aurora-blobs*.*")
    site = machine.run("nginx -t 2>&1 | grep -v 'listen ... http2'")  # newer ones warn of that

    assert (units.stdout, units.stderr) == ("", "")
    assert "[warn]" not in site.stdout


def test_what_is_enabled_starts_with_the_machine(machine):
    enabled = machine.run("cd /etc/systemd/system; ls *.target.wants").stdout.split()

    assert {name for name in enabled if name.startswith("aurora")} == {
        *("aurora-blobs.service", "aurora-blobs-backup.timer"),
        *("aurora-blobs-gc.timer", "aurora-blobs-scrub.timer"),
    }
    assert "certbot.timer" in enabled
    assert "nftables.service" in enabled


@pytest.mark.parametrize("job", ["gc", "scrub", "backup"])
def test_what_the_timers_start_does_its_job(machine, photo, job):
    machine.run(f"systemctl start aurora-blobs-{job}")


def test_the_backup_has_the_blob_and_can_be_put_back(machine, photo):
    url, cid = photo
    machine.run("systemctl start aurora-blobs-backup")
    assert cid in machine.run("find /var/backups/aurora-blobs -user aurora-blobs").stdout

    machine.run("systemctl stop aurora-blobs")
    machine.run("aurora-blobs backup restore /var/backups/aurora-blobs --yes")
    machine.run("systemctl start aurora-blobs")

    assert "nothing is wrong" in machine.run("aurora-blobs blobs fsck").stdout
    assert machine.status(url) == "200"


def test_the_service_writes_nowhere_but_into_its_folders(machine, photo):
    found = machine.run(
        "find / -xdev -user aurora-blobs -not -path '/proc/*' -not -path '/dev/*'"
    ).stdout.split()

    homes = ("/var/lib/aurora-blobs", "/var/backups/aurora-blobs", "/run/aurora-blobs")
    assert [path for path in found if not path.startswith(homes)] == []


def test_secrets_are_read_by_nobody_else(machine):
    for path in ("/etc/aurora-blobs.env", "/var/lib/aurora-blobs/aurora.sqlite3"):
        read = machine.run(f"setpriv --reuid=nobody --clear-groups cat {path}", check=False)
        assert "Permission denied" in read.stderr


@pytest.mark.parametrize(
    "url, said",
    [
        (f"http://{NAME}", "308"),
        (f"https://{NAME}", "200"),
        (f"http://{NAME}:22", "curl: (7)"),  # nothing listens
        (f"http://{NAME}:8080", "curl: (28)"),  # no answer
    ],
    ids=["HTTP", "HTTPS", "SSH", "else nothing"],
)
def test_the_firewall_lets_in_what_the_page_says(machine, url, said):
    assert said in machine.run(FROM_OUTSIDE + REQUEST.replace("URL", url)).stdout


def test_the_firewall_lets_dhcpv6_in_from_the_link_alone(machine):
    assert machine.run(FROM_OUTSIDE + DHCPV6).stdout.split() == ["fe80::2"]


def test_what_is_changed_in_nginx_conf_may_be_changed_again(machine):
    [block] = [block for block in PAGE if "worker_rlimit_nofile" in block]
    conf = machine.folder / "etc" / "nginx" / "nginx.conf"
    before = conf.read_text()

    machine.run(block)

    assert conf.read_text() == before
    assert before.count("worker_rlimit_nofile 20000;") == 1


def test_nothing_listens_but_nginx(machine):
    listening = machine.run("ss --listening --tcp --numeric --no-header").stdout

    ports = {line.split()[3].rpartition(":")[2] for line in listening.splitlines()}
    assert ports == {"80", "443"}


def test_a_blob_that_is_taken_down_is_gone_at_once(machine, alice, photo):
    url, cid = photo
    subject = {
        "$type": "com.atproto.admin.defs#repoBlobRef",
        "did": alice[0],
        "cid": cid,
    }
    assert machine.status(url) == "200"

    machine.post(
        "com.atproto.admin.updateSubjectStatus",
        f"-u 'admin:{machine.setting('AURORA_BLOBS_ADMIN_PASSWORD')}'",
        subject=subject,
        takedown={"applied": True},
    )

    assert json.loads(machine.curl(url))["error"] == "BlobNotFound"
