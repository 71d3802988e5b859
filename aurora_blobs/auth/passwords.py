"""Passwords: what may be one, and its Argon2id hash."""

import threading

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from aurora_blobs.errors import InvalidPassword

MIN_CHARACTERS = 8
MAX_CHARACTERS = 256  # what the reference PDS takes; it bounds the work that a stranger can ask for

# Of the settings for Argon2id that OWASP holds to be equally strong, the one with the least memory: 7 MiB and about
# 30 ms. https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
_HASHER = PasswordHasher(time_cost=5, memory_cost=7 * 1024, parallelism=1)
# The hash of nothing that anybody knows: a log-in to no account costs what one to an account costs.
_NOBODY = "$argon2id$v=19$m=7168,t=5,p=1$0ONPotOXUL22hCFQ2FnLzA$d3jBleOi8WORdB7Vq+8PZfvIqgnsbJMDrH9Vx8Y1NqY"
# One at a time in a process: sixteen threads that log in at once would add 110 MB to it, which it keeps.
_ONE = threading.Lock()


def hash_password(password: str) -> str:
    """The hash of *password*, a new one. Raises InvalidPassword for what is too short or too long."""
    if len(password) < MIN_CHARACTERS:
        raise InvalidPassword(f"Password too short. Minimum length is {MIN_CHARACTERS} characters.")
    if len(password) > MAX_CHARACTERS:
        raise InvalidPassword(f"Password too long. Maximum length is {MAX_CHARACTERS} characters.")
    with _ONE:
        return _HASHER.hash(password)


def is_password(password: str, password_hash: str | None) -> bool:
    """Whether *password* is that of *password_hash*; None, nobody's, takes as long and is False."""
    if len(password) > MAX_CHARACTERS:
        return False
    with _ONE:
        try:
            _HASHER.verify(_NOBODY if password_hash is None else password_hash, password)
        except VerificationError:
            return False
    return password_hash is not None
