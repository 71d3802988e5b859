"""Accounts: their handles, sessions and states, and who may see and change them."""
