"""Local accounts, their handles and states, and who may see and change them."""
