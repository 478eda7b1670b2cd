"""Pipes to S3: who pushes at once, is killed, cut off, refused; objects and indexes that lie."""

import pytest
from pipe_people import Person, race


@pytest.fixture
def people(place, tmp_path):
    def made(name, keys=None, **settings):
        credentials = (place.known(keys) if keys else place.credentials).name
        return Person(tmp_path / name, f"{place.url}&lease=2", credentials=credentials, **settings)

    return made


@pytest.fixture
def ann(people):
    return people("ann")


@pytest.fixture
def bob(people):
    return people("bob")


@pytest.mark.parametrize("place", ["moto", "seaweedfs"], indirect=True)
def test_two_push_at_once(ann, bob, place, tmp_path):
    race(ann, bob, tmp_path)
