"""What tests share."""

import pytest

# The asserts of these modules say as much as those in tests do.
pytest.register_assert_rewrite("support.accounts", "support.backend_contract")
