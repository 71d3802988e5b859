"""Passwords: their length and their Argon2id hashes."""

import threading

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from aurora_blobs.errors import InvalidPassword

MIN_CHARACTERS = 8
MAX_CHARACTERS = 256  # as on the reference PDS; bounds the work that a stranger can ask for

# OWASP holds several settings of Argon2id to be equally strong. This one needs the least memory:
# 7 MiB, and about 30 ms.
# https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
HASHER = PasswordHasher(time_cost=5, memory_cost=7 * 1024, parallelism=1)
# The hash of a password that nobody knows. A log-in without an account is checked against it.
DUMMY_HASH = (
    "$argon2id$v=19$m=7168,t=5,p=1$"
    "0ONPotOXUL22hCFQ2FnLzA$d3jBleOi8WORdB7Vq+8PZfvIqgnsbJMDrH9Vx8Y1NqY"
)
# One hash at a time in a process: sixteen threads at once would add 110 MB, which it would keep.
_ONE_AT_A_TIME = threading.Lock()


def hash_password(password: str) -> str:
    """A salted hash of *password*. Raises InvalidPassword if it is too short or too long."""
    if len(password) < MIN_CHARACTERS:
        raise InvalidPassword(f"Password too short. Minimum length is {MIN_CHARACTERS} characters.")
    if len(password) > MAX_CHARACTERS:
        raise InvalidPassword(f"Password too long. Maximum length is {MAX_CHARACTERS} characters.")
    with _ONE_AT_A_TIME:
        return HASHER.hash(password)


def is_password(password: str, password_hash: str | None) -> bool:
    """Whether *password* has *password_hash*. None is False, after the time of a real check."""
    if len(password) > MAX_CHARACTERS:
        return False
    with _ONE_AT_A_TIME:
        try:
            HASHER.verify(DUMMY_HASH if password_hash is None else password_hash, password)
        except VerificationError:
            return False
    return password_hash is not None
