"""Code that tests share."""

import pytest

# pytest explains a failed assert in these modules as in tests.
pytest.register_assert_rewrite("support.accounts", "support.backend_contract")
