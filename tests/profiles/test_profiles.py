"""Profiles: what stands in the files, which of them counts, what is refused, and the central folder."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap
import traceback
from pathlib import Path

import pytest

import d6tstore
from d6tstore import profiles
from d6tstore.errors import CredentialsError, ProfileError, UsageError
from d6tstore.profiles.files import FILE, current_project, project_files, user_file

URL = 'url = "memory://"\n'


@pytest.fixture
def write(project):
    """Write a file of profiles: that of the project, unless another is named."""

    def write(text: str, file: str | Path = FILE) -> Path:
        path = project / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return write


def refused(name: str = "prod") -> str:
    """The message for a profile that is not right, which holds all that the error shows."""
    with pytest.raises(ProfileError) as caught:
        profiles.load(name)
    exc = caught.value
    assert exc.__cause__ is None and exc.__context__ is None
    frames = [frame for frame, _ in traceback.walk_tb(exc.__traceback__)]
    assert "hunter2" not in "".join(repr(frame.f_locals) for frame in frames[2:]), "a frame holds the secret"
    assert "hunter2" not in str(exc) and pickle.loads(pickle.dumps(exc)).args == exc.args
    return str(exc)


# ------------------------------------------------------------------ which file counts


def test_init_by_name(write, project):
    write(
        """
        [profiles.prod]
        url = "results"
        namespace = "team"
        check = "content"
        keep_versions = 5
        trusted = ["partner"]
        options.durable = true
        credentials = "warehouse"
        [profiles.prod.backends.lake]
        url = "lake"
        [profiles.prod.pipes.team]
        url = "s3://team/features"
        write_credentials = "team_rw"
        """
    )
    store = d6tstore.init("prod")
    repository = store.repository
    assert repository.default.url == f"file://{project}/results" and repository.default.durable
    assert (repository.namespace, repository.check, repository.keep_versions) == ("team", "content", 5)
    assert repository.trusted == {"partner"} and repository.named["lake"].url == f"file://{project}/lake"
    assert profiles.load("prod").profile.pipes["team"].write_credentials == "team_rw"
    changed = d6tstore.open("prod", keep_versions=1, durable=False, backends={"lake": "memory://"}).repository
    assert (changed.keep_versions, changed.default.durable, changed.named["lake"].url) == (1, False, "memory://")


def test_a_result_goes_where_the_profile_says(write, project, flow):
    write('[profiles.prod]\nurl = "results"\nbackends.lake.url = "lake"\n')
    flow = flow(
        """
        import d6tstore
        class Default(d6tstore.tasks.TaskJson):
            def run(self): self.save(1)
        class Lake(Default):
            backend = "lake"
        """
    )
    d6tstore.init("prod")
    d6tstore.run([flow.Default(), flow.Lake()])
    assert len(list((project / "results/Default").rglob("*.json"))) == 1
    assert len(list((project / "lake/Lake").rglob("*.json"))) == 1


def test_d6tstore_profile(write, monkeypatch):
    write(f"[profiles.prod]\n{URL}")
    monkeypatch.setenv("D6TSTORE_PROFILE", "prod")
    assert d6tstore.open().repository.default.url == "memory://"
    assert d6tstore.open("./data").repository.default.url.startswith("file://")  # what is said goes before
    monkeypatch.setenv("D6TSTORE_PROFILE", "")
    assert d6tstore.open().repository.default.url.startswith("file://")
    monkeypatch.setenv("D6TSTORE_PROFILE", "./data")
    with pytest.raises(ProfileError, match="no profile './data'"):
        d6tstore.open()


def test_project_over_pyproject_over_user_and_nothing_is_mixed(write):
    write('[profiles.a]\nurl = "/user"\nkeep_versions = 9\n[profiles.u]\nurl = "/user"', user_file())
    write('[tool.d6tstore.profiles]\na.url = "/pyproject"\np.url = "/pyproject"', "pyproject.toml")
    write('[profiles]\na.url = "/project"')
    assert [(f.name, f.profile.url) for f in profiles.load_all()] == [
        ("a", "/project"),
        ("p", "/pyproject"),
        ("u", "/user"),
    ]
    assert profiles.load("a").profile.keep_versions is None
    assert [profiles.load(name).file.name for name in "apu"] == [FILE, "pyproject.toml", FILE]


def test_upwards_to_the_nearest(write, project, monkeypatch):
    write('[profiles.a]\nurl = "/far"', project.parent / FILE)
    write("[tool.other]\nx = 1", "pyproject.toml")
    (project / "deep/er").mkdir(parents=True)
    monkeypatch.chdir(project / "deep/er")
    assert profiles.load("a").profile.url == "/far"  # a pyproject.toml without a table of ours does not count
    write('[tool.d6tstore.profiles.a]\nurl = "near"', "pyproject.toml")
    assert profiles.load("a").profile.url == str(project / "near")


def test_from_elsewhere_the_project_of_the_script_counts(write, project, tmp_path):
    write('[profiles.prod]\nurl = "results"')
    (project / "main.py").write_text("from d6tstore import profiles\nprint(profiles.load('prod').profile.url)")
    done = subprocess.run([sys.executable, project / "main.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == str(project / "results"), done.stderr


def test_no_profile(write):
    with pytest.raises(ProfileError, match=rf"no profile 'prod'\. Write \[profiles.prod\] into {FILE} or /.*'\./prod'"):
        d6tstore.open("prod")
    write('[profiles.production]\nurl = "x"')
    with pytest.raises(ProfileError, match="did you mean 'production'"):
        d6tstore.open("producton")
    with pytest.raises(ProfileError, match="There are production"):
        d6tstore.open("zz")


def test_a_broken_profile_leaves_the_others(write):
    write('[profiles.good]\nurl = "/x"\n[profiles.bad]\nurl = 3\n')
    write("this is no toml", user_file())
    assert profiles.load("good").profile.url == "/x"
    assert "Expected `str" in refused("bad")
    assert "cannot be read: it is not TOML (at line 1, column 6)" in refused("absent")


def test_load_all_says_what_is_wrong(write):
    write('[profiles.good]\nurl = "/x"\n[profiles.bad]\nurl = "${NOT_SET}"\n')
    good, bad = profiles.load_all()
    assert (good.problem, bad.name) == ("", "bad") and "NOT_SET, which is not set" in bad.problem


# --------------------------------------------------------------------- files as they come


def test_bom_and_empty_files(project):
    (project / FILE).write_bytes(b"\xef\xbb\xbf[profiles.prod]\r\nurl = '/x'\r\n")
    assert profiles.load("prod").profile.url == "/x"
    (project / FILE).write_bytes(b"")
    assert "no profile 'prod'" in refused() and profiles.load_all() == []


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"[profiles.prod]\nurl = '\xff hunter2'", "not UTF-8 (byte 24)"),
        ("[profiles.prod]".encode("utf-16"), "not UTF-8 (byte 1)"),
        (b"[profiles.prod]\nurl = hunter2", "not TOML (at line 2, column 7)"),
        (b"[profiles.prod]\nurl = 'hunter2", "not TOML (at end of document)"),
        (b"[profiles.prod]\npassword = 'hunter2'\npassword = 'hunter2'", "not TOML (at end of document)"),
        (b"a = " + b"[" * 5000, "nested too deeply"),
        (b"[prod]\nurl = 'x'", "prod is unknown; a profile is written as [profiles.prod]"),
        (b"profile = 3", "profile is unknown; did you mean 'profiles'?"),
        (b"profiles = 3", "profiles must be tables"),
        (b"[profiles]\nprod = '/x'", "profiles must be tables"),
        (b"[profiles.'x://u:hunter2@h']\nurl = 'x'", "a key that is no plain word (it is not shown) cannot"),
        (b"[profiles.1a]\nurl = 'x'", "1a cannot name a profile"),
    ],
)  # fmt: skip
def test_bad_files(project, data, told):
    (project / FILE).write_bytes(data)
    message = refused()
    assert str(project / FILE) in message and told in message


def test_a_folder_in_place_of_the_file(project):
    (project / FILE).mkdir()
    assert "it is a folder. Make it a file that you may read" in refused()


def test_a_link_to_nowhere(project):
    (project / FILE).symlink_to(project / "gone")
    assert "cannot be read: No such file or directory" in refused()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_file_that_may_not_be_read(write):
    write(f"[profiles.prod]\n{URL}").chmod(0)
    assert "Permission denied" in refused()


def test_a_broken_table_in_pyproject(write):
    write("tool = 3", "pyproject.toml")
    assert project_files() == []
    write("[tool]\nd6tstore = 3", "pyproject.toml")
    assert "tool.d6tstore must be a table" in refused()


# ------------------------------------------------------------------------- keys and values


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('urls = "/x"', "profiles.prod.urls is unknown; did you mean 'url'?"),
        ('url = "/x"\nzzz = 1', "profiles.prod.zzz is unknown; known keys are url, central"),
        ('url = "/x"\nbackends.lake.option = {}', "backends.lake.option is unknown; did you mean 'options'?"),
        ('url = "/x"\npipes.team.ulr = "/y"', "profiles.prod.pipes.team.ulr is unknown; did you mean 'url'?"),
        ('url = "/x"\nbackends.lake.namespace = "a"', "backends.lake.namespace is unknown"),
        ('url = "/x"\nbackends.lake = "/y"', "Expected `object`, got `str` - at `$.backends[...]`"),
        ('url = "/x"\nbackends = ["/y"]', "Expected `object`, got `array` - at `$.backends`"),
        ('url = "/x"\npipes.team.options = {}', "missing required field `url`"),
        ('url = "/x"\ncentral = "/y"', "needs one of url (a folder or URL) and central"),
        ("keep_versions = 3", "needs one of url (a folder or URL) and central"),
        ('url = "/x"\ncheck = "all"', "check must be one of exists, content, code"),
        ('url = "/x"\nkeep_versions = -1', "keep_versions must be 0 or more"),
        ('url = "/x"\nkeep_versions = true', "Expected `int | null`, got `bool` - at `$.keep_versions`"),
        ('url = "/x"\ntrusted = "a"', "Expected `array | null`, got `str` - at `$.trusted`"),
        ('url = "/x"\ncredentials = "x://u:hunter2@h"', "credentials must be the name of credentials"),
        ('url = "/x"\npipes.p = {url = "/y", write_credentials = "a b hunter2"}', "write_credentials must be the name"),
        ('url = "/x"\noptions.credentials = "hunter2"', "Write it as profiles.prod.credentials."),
        ('url = "/x"\noptions.namespace = "a"', "options.namespace is no option of a backend"),
        ('url = "/x"\nbackends.lake = {url = "/y", options = {url = "/z"}}', "lake.options.url is no option of a"),
        ('url = ""', "profiles.prod.url is empty"),
        ('url = "${EMPTY}"', "profiles.prod.url is empty"),
        ('central = "s3://bucket"', "central must be a folder"),
    ],
)  # fmt: skip
def test_bad_profiles(write, text, told, monkeypatch):
    monkeypatch.setenv("EMPTY", "")
    file = write(f"[profiles.prod]\n{text}\n")
    message = refused()
    assert message.startswith(f"{file}: ") and told in message, message


def test_a_wrong_namespace_is_refused_by_the_store(write):
    write(f"[profiles.prod]\n{URL}namespace = 'a b'")
    with pytest.raises(UsageError, match="namespace 'a b'"):
        d6tstore.open("prod")


# ------------------------------------------------------------------------- environment variables


def test_interpolation(write, monkeypatch):
    monkeypatch.setenv("BUCKET", "b${HOST}$$")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setenv("PREFIX", "p")
    write(
        """
        [profiles.prod]
        url = "s3://${BUCKET}/${PREFIX:-x}/${EMPTY:-e}${ABSENT:-}/$x/$$5"
        options.endpoint = ["${PREFIX}", {deep = "${PREFIX}-${PREFIX}"}, 3, "${ABSENT:-http://a:1/b}"]
        [profiles.prod.pipes.team]
        url = "/${PREFIX}"
        """
    )
    profile = profiles.load("prod").profile
    assert profile.url == "s3://b${HOST}$$/p/e/$x/$5"  # what a variable holds stays as it is
    assert profile.options == {"endpoint": ["p", {"deep": "p-p"}, 3, "http://a:1/b"]}
    assert profile.pipes["team"].url == "/p"


@pytest.mark.parametrize("text", ["${", "${1A}", "${A-b}", "${A:-${B}}", "${}", "${A:b}"])
def test_interpolation_that_is_none(write, text, monkeypatch):
    monkeypatch.setenv("A", "x")
    write(f'[profiles.prod]\nurl = "/{text}"\n')
    assert "profiles.prod.url: write ${NAME}, ${NAME:-default}, or $$ for a dollar sign" in refused()


def test_a_variable_that_is_not_set(write):
    write('[profiles.prod]\nurl = "/x"\nbackends.lake.url = "/${NOT_SET}"\n')
    assert "profiles.prod.backends.lake.url needs the environment variable NOT_SET" in refused()


# ----------------------------------------------------------------------------------- secrets


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ('url = "postgresql://u:hunter2@h/db"', "set prod password"),
        ('url = "https://h/p?sig=hunter2"', "set prod sig"),
        ('url = "postgresql://u:hunter2/x@h/db"', "set prod password"),
        ('url = "host=h password=hunter2"', "set prod password"),
        ('url = "/x"\npassword = "hunter2"', "set prod password"),
        ('url = "/x"\nPassWord = "hunter2"', "set prod password"),
        ('url = "/x"\noptions.secret_key = "hunter2"', "set prod secret_key"),
        ('url = "/x"\noptions.a.b.Api-Key = "hunter2"', "set prod api_key"),
        ('url = "/x"\noptions.token = ["hunter2"]', "set prod token"),
        ('url = "/x"\noptions.token = {x = "hunter2"}', "set prod token"),
        ('url = "/x"\noptions.proxies = ["x", {y = "http://u:hunter2@h"}]', "set prod password"),
        ('url = "/x"\noptions.client.credentials = "hunter2"', "set prod credentials"),
        ('url = "/x"\noptions."hunter2:x".token = "t"', "set prod token"),
        ('url = "/x"\ntrusted = ["s3://k:hunter2@b"]', "set prod password"),
        ('url = "/x"\nnamespace = "x://u:hunter2@h"', "set prod password"),
        ('url = "/x"\ncredentials = "wh"\noptions.token = "hunter2"', "set wh token"),
        ('url = "/x"\ncredentials = "x://u:hunter2@h"\noptions.token = "hunter2"', "set NAME token"),
        ('url = "/x"\nbackends.lake = {url = "x://u:hunter2@h"}', "set prod password"),
        ('url = "/x"\nbackends.lake = {url = "x://u:hunter2@h", credentials = "lake"}', "set lake password"),
        ('url = "/x"\npipes.team = {url = "/y", options = {token = "hunter2"}}', "set prod token"),
        ('central = "/x"\noptions.password = "${X:-hunter2}"', "set prod password"),
    ],
)  # fmt: skip
def test_secrets_are_refused(write, text, command):
    file = write(f"[profiles.prod]\n{text}\n")
    message = refused()
    assert message.startswith(f"{file}: profiles.prod.") and "which stands in the file" in message
    assert f"Run: d6tstore credentials {command};" in message
    with pytest.raises(ProfileError, match="holds a secret"):
        d6tstore.init("prod")
    assert "hunter2" not in repr(profiles.load_all())


@pytest.mark.parametrize("text", ['url = "${SECRET_URL}"', 'url = "/x"\noptions.a = ["${SECRET_URL}"]'])
def test_secrets_from_a_variable_are_refused(write, text, monkeypatch):
    monkeypatch.setenv("SECRET_URL", "postgresql://u:hunter2@h/db")
    write(f"[profiles.prod]\n{text}\n")
    assert "comes from an environment variable. Run: d6tstore credentials set prod password" in refused()


def test_a_variable_of_a_secret_is_not_filled_in(write, monkeypatch):
    monkeypatch.setenv("D6TSTORE_WAREHOUSE_PASSWORD", "hunter2")
    for text in ("namespace = '${D6TSTORE_WAREHOUSE_PASSWORD}'", "options.a = 'x-${D6TSTORE_WAREHOUSE_PASSWORD:-y}'"):
        write(f"[profiles.prod]\n{URL}{text}")
        assert "the environment variable D6TSTORE_WAREHOUSE_PASSWORD is called as a secret is" in refused()


def test_a_url_where_the_name_of_a_profile_belongs(write, monkeypatch):
    monkeypatch.setenv("D6TSTORE_PROFILE", "memory://u:hunter2@h")
    with pytest.raises(ProfileError) as caught:
        d6tstore.open()
    assert "there is no profile 'memory://u@h'" in str(caught.value) and "hunter2" not in str(caught.value)


def test_what_only_sounds_like_a_secret(write):
    write('[profiles.prod]\nurl = "memory://"\ncredentials = "token"\nwrite_credentials = "secret_key"\n'
          'options = {use_token = true, password = ""}\npipes.p = {url = "/x", credentials = "password"}')  # fmt: skip
    assert profiles.load("prod").profile.pipes["p"].credentials == "password"
    write("[profiles.prod]\nurl = '${PWD}/data'\n"
          "[profiles.prod.backends.tokens]\nurl = './t'\noptions = {token = 'anon'}\n"
          "[profiles.prod.pipes.key]\nurl = './k'\noptions = {columns = ['key', 'value']}")  # fmt: skip
    assert sorted(profiles.load("prod").profile.places()) == ["backend tokens", "default", "pipe key"]


def test_names_of_credentials_reach_the_backend(write):
    write('[profiles.prod]\nurl = "/x"\ncredentials = "reader"\nwrite_credentials = "writer"')
    access = profiles.load("prod").profile.access
    assert (access.credentials, access.write_credentials) == ("reader", "writer")
    with pytest.raises(CredentialsError, match="a name of credentials has"):
        d6tstore.open("prod", credentials="no name")


# ------------------------------------------------------------------------------------ places


@pytest.mark.parametrize(
    ("url", "full"),
    [
        ("results", "{project}/results"), ("./a/../results", "{project}/results"), ("..", "{parent}"),
        ("/abs", "/abs"), ("~/abs", "{home}/abs"), ("C:/data", "C:/data"), ("C:\\data", "C:\\data"),
        ("s3://b/x", "s3://b/x"), ("sqlite:///x.db", "sqlite:///x.db"), ("memory://", "memory://"),
    ],
)  # fmt: skip
def test_folders_are_relative_to_the_file_of_the_project(write, project, monkeypatch, url, full):
    write(f"[profiles.prod]\nurl = '{url}'\nbackends.b.url = '{url}'\npipes.p.url = '{url}'")
    (project / "deep").mkdir()
    monkeypatch.chdir(project / "deep")
    monkeypatch.setenv("HOME", "/home/me")
    profile = profiles.load("prod").profile
    wanted = full.format(project=project, parent=project.parent, home="/home/me")
    assert [profile.url, profile.backends["b"].url, profile.pipes["p"].url] == [wanted] * 3


@pytest.mark.parametrize("key", ["url", "central"])
def test_a_relative_folder_in_the_file_of_the_user(write, key):
    write(f'[profiles.prod]\n{key} = "results"', user_file())
    assert f"profiles.prod.{key} is a relative folder" in refused()
    write(f'[profiles.prod]\n{key} = "~/results"', user_file())
    assert profiles.load("prod").profile.access.url.startswith(os.path.expanduser("~/results"))


# ---------------------------------------------------------------------------- the central folder


@pytest.fixture
def central(write, tmp_path):
    """A user-wide profile `shared`, whose central folder is given."""
    write(f"[profiles.shared]\ncentral = '{tmp_path}/central'", user_file())
    return tmp_path / "central"


@pytest.fixture
def another(tmp_path, monkeypatch):
    """Work in another project from here on."""

    def go(folder: str, text: str = "") -> Path:
        path = tmp_path / folder
        path.mkdir(parents=True, exist_ok=True)
        (path / "pyproject.toml").touch()
        if text:
            (path / FILE).write_text(text)
        monkeypatch.chdir(path)
        return path

    return go


def used() -> Path:
    return Path(d6tstore.open("shared").repository.default.root)


def test_each_project_has_a_folder_of_its_own(central, another, flow):
    flow = flow("import d6tstore\nclass One(d6tstore.tasks.TaskJson):\n    def run(self): self.save(1)")
    for project in ("a/prices", "a/models"):
        another(project)
        store = d6tstore.init("shared")
        assert d6tstore.run(flow.One()).ran == [flow.One()]  # the other project's result is not taken
        assert store.repository.default.root == str(central / Path(project).name)
        assert store.verify() == [] and used() == central / Path(project).name
    assert sorted(p.name for p in central.iterdir()) == ["models", "prices"]


def test_the_name_of_a_project(write, project, monkeypatch):
    assert current_project() == ("project", project)
    write('[project]\nname = "by-pyproject"', "pyproject.toml")
    assert current_project() == ("by-pyproject", project)
    write('project = "by ours"')
    assert current_project() == ("by ours", project)
    (project / "deep").mkdir()
    monkeypatch.chdir(project / "deep")
    assert current_project() == ("by ours", project)
    write('[tool.d6tstore]\nproject = "in pyproject"', "pyproject.toml")
    (project / FILE).unlink()
    assert current_project() == ("in pyproject", project)


@pytest.mark.parametrize(
    "name", ["'../x'", "''", "'.'", "'..'", "'a/b'", "'a\\b'", "'C:'", "' a'", "'a.'", "3", "'\"\\u0000\"'", "['a']"]
)
def test_what_cannot_name_a_project(write, central, name):
    write(f"project = {name}\n")
    with pytest.raises(ProfileError, match="project cannot name a project|is not TOML"):
        used()
    assert not central.exists()


def test_two_projects_of_one_name_do_not_mix(central, another):
    first = another("a/prices")
    folder = used()
    second = another("b/prices")
    with pytest.raises(ProfileError) as caught:
        used()
    told = str(caught.value)
    assert str(first) in told and f'project = "..." in {second / FILE}' in told
    another("b/prices", 'project = "other prices"')
    assert used() == central / "other prices"
    another("a/prices")
    assert used() == folder


def test_a_project_that_moved_or_was_cloned(central, another, tmp_path):
    old = another("old/prices")
    folder = used()
    old.rename(tmp_path / "prices")
    new = another("prices")
    with pytest.raises(ProfileError) as caught:
        used()
    line, file = str(caught.value).rpartition("add the line ")[2].removesuffix(".").split(" to ")
    assert line == str(new)
    with open(file, "a") as marker:
        marker.write(line + "\n")
    assert used() == folder
    another("old/prices")
    assert used() == folder  # both may use it now


def test_a_link_to_the_project_is_the_project(central, another, tmp_path, monkeypatch):
    folder = another("a/prices")
    used()
    (tmp_path / "link").mkdir()
    (tmp_path / "link/prices").symlink_to(folder)
    monkeypatch.chdir(tmp_path / "link/prices")
    assert used() == central / "prices"


def test_a_marker_that_a_crash_left_empty(central, another):
    another("a/prices")
    mark = used() / ".d6tstore/projects.txt"
    for debris in ("", "# The project"):
        mark.write_text(debris + "\n")
        another("a/prices")
        used()
        another("b/prices")
        with pytest.raises(ProfileError, match="another project"):
            used()


def test_a_central_folder_that_cannot_be_used(central, another):
    another("prices")
    central.parent.mkdir(exist_ok=True)
    central.write_text("a file")
    with pytest.raises(ProfileError, match="cannot be used as folder of the project"):
        used()


def test_gc_leaves_the_marker(central, another):
    another("prices")
    store = d6tstore.open("shared")
    store.gc(older_than=0)
    assert (central / "prices/.d6tstore/projects.txt").read_text().splitlines()[1] == os.getcwd()
