"""Authentication: sessions, service tokens, OAuth and the administrator."""

from aurora_blobs.auth.authenticator import Authenticator as Authenticator
from aurora_blobs.auth.requester import Administrator as Administrator
from aurora_blobs.auth.requester import Credentials as Credentials
from aurora_blobs.auth.requester import Person as Person
from aurora_blobs.auth.requester import Requester as Requester
