"""S3 passes the published suite: by both clients, on two servers."""

import contextlib

import pytest
from s3proxy import ACCESS_DENIED

from d6tstore.testing import BackendTests


class _Suite(BackendTests):
    driver = None
    lease = 10.0  # a claim of a dead process expires
    rounds = 10
    kills = 4

    @pytest.fixture
    def backend(self, place):
        self.place = place
        # moto cannot check the signature of listings of odd prefixes; tests/cloud/test_s3_faults.py has its checks.
        with getattr(place.server, "trusting", contextlib.nullcontext)():
            backend = place.open(driver=self.driver, lease=2)
            yield backend
            backend.close()

    def denying(self, backend):
        return self.place.proxy.when(answer=ACCESS_DENIED)


class TestMoto(_Suite):
    pass


@pytest.mark.parametrize("place", ["seaweedfs"], indirect=True)
class TestSeaweedFS(_Suite):
    pass


class TestMotoByBoto3(_Suite):
    driver = "boto3"
