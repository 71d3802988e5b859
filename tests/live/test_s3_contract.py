"""What every backend promises, promised by S3: the tests of test_backends.py, on a real store."""

import inspect

import pytest
from storage import test_backends

pytestmark = pytest.mark.live

globals().update(
    {
        name: test
        for name, test in vars(test_backends).items()
        if name.startswith("test_")
        and {"backend", "single"} & {*inspect.signature(test).parameters}
    }
)


@pytest.fixture(params=[{}, {"max_put": 1}], ids=["whole", "in parts"])
def backend(open_s3, request):
    return open_s3(**request.param)


@pytest.fixture
def single(backend):
    return backend
