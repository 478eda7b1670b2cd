"""Pipes to databases: who pushes at once, is refused, cut off; frames that are tables there and bytes here."""

import pytest
from pipe_people import Person, race


@pytest.fixture(params=["postgres", "sqlite"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/shared.db"
    return request.getfixturevalue("database").url


@pytest.fixture
def people(url, tmp_path):
    def made(name, **settings):
        return Person(tmp_path / name, url, **settings)

    return made


@pytest.fixture
def ann(people):
    return people("ann")


@pytest.fixture
def bob(people):
    return people("bob")


def test_two_push_at_once(ann, bob, tmp_path):
    race(ann, bob, tmp_path)
