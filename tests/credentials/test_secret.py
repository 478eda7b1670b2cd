"""`Secret`, `masked`, `cleaned`: a secret shows nowhere, and leaves no trace in errors."""

# ruff: noqa: UP031  # each way to format is tried

import base64
import copy
import dataclasses
import html
import inspect
import io
import json
import logging
import pickle
import pprint
import traceback
import urllib.parse

import cloudpickle
import msgspec
import pytest
import rich.console
import rich.pretty
import rich.traceback

from d6tstore.credentials.secret import MASK, Secret, cleaned, described, masked, veiled
from d6tstore.errors import BackendError, CredentialsError, D6tstoreError, Denied, ForeignError, Held, NotFound

TEXT = "hunter2-hunter2"
AWKWARD = [
    TEXT,
    "p@ss/w:rd%20?#&+=",
    'it\'s "quoted" \\ back',
    "zwei\nZeilen\tund mehr",
    "пароль-密码-😀",
    "lone\udc80surrogate",
    "nul\0inside",
    "<tag> & 'more'",
    " spaces around ",
    "%%s{}{0}$PATH",
    "x" * 10_000,
]


@dataclasses.dataclass
class Login:
    user: str
    password: Secret


class Connection(msgspec.Struct):
    password: Secret


# ------------------------------------------------------------------ a secret itself

SHOWN = {
    "repr": repr,
    "str": str,
    "f-string": lambda s: f"{s} {s!r} {s!s} {s!a} {s:>40} {s:x}",
    "format": lambda s: str.format("{} {!r} {:30}", s, s, s) + format(s, "d"),
    "percent": lambda s: "%s %r %a %20s" % (s, s, s, s),
    "percent with a dict": lambda s: "%(s)s" % {"s": s},
    "ascii": ascii,
    "in a list": lambda s: repr([s, (s,), {s: s}, {s}]),
    "json with default": lambda s: json.dumps({"s": s}, default=str),
    "pprint": lambda s: pprint.pformat({"s": [s] * 30}),
    "dataclass": lambda s: repr(Login("ann", s)),
    "dataclasses.asdict": lambda s: repr(dataclasses.asdict(Login("ann", s))),
    "dataclasses.astuple": lambda s: repr(dataclasses.astuple(Login("ann", s))),
    "dataclasses.replace": lambda s: repr(dataclasses.replace(Login("ann", s), user="bob")),
    "msgspec": lambda s: repr(Connection(s)),
    "copy": lambda s: repr(copy.copy(s)),
    "deepcopy": lambda s: repr(copy.deepcopy({"s": s})),
    "rich": lambda s: rich.pretty.pretty_repr({"s": Login("ann", s)}),
    "members": lambda s: repr(inspect.getmembers(s)),
    "slots": lambda s: repr([getattr(s, name) for name in s.__slots__]),
    "exception": lambda s: f"{ValueError(s)} {ValueError(s)!r}",
}


@pytest.mark.parametrize("name", SHOWN)
def test_it_shows_a_mask(name):
    shown = SHOWN[name](Secret(TEXT))
    assert TEXT not in shown
    assert MASK in shown or name in ("slots",)


REFUSED = {
    "pickle": pickle.dumps,
    "pickle, protocol 0": lambda s: pickle.dumps(s, 0),
    "pickle of what holds it": lambda s: pickle.dumps(Login("ann", s)),
    "cloudpickle": cloudpickle.dumps,
    "cloudpickle of a closure": lambda s: cloudpickle.dumps(lambda: s.reveal()),
    "getstate": lambda s: s.__getstate__(),
    "reduce_ex": lambda s: s.__reduce_ex__(4),
    "json": json.dumps,
    "msgspec.json": msgspec.json.encode,
    "msgspec.msgpack": lambda s: msgspec.msgpack.encode(Connection(s)),
    "msgspec.to_builtins": lambda s: msgspec.to_builtins(Login("ann", s)),
    "vars": vars,
    "iter": iter,
    "len": len,
    "concatenation": lambda s: "password=" + s,
    "join": lambda s: ",".join([s]),
    "bytes": bytes,
    "number": lambda s: "%d" % s,
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_does_not_leave_as_text_or_bytes(name):
    with pytest.raises((TypeError, CredentialsError)) as caught:
        REFUSED[name](Secret(TEXT))
    assert TEXT not in str(caught.value)


def test_pickle_says_what_to_do():
    with pytest.raises(CredentialsError, match="must not leave this process. Pass its name"):
        pickle.dumps(Secret(TEXT))


def test_logging(caplog):
    stream = io.StringIO()
    log = logging.getLogger("test_secret")
    handler = logging.StreamHandler(stream)
    log.addHandler(handler)
    try:
        with caplog.at_level(logging.DEBUG, "test_secret"):
            log.debug("as %s %r", Secret(TEXT), {"password": Secret(TEXT)})
            log.debug("alone %(a)s", {"a": Secret(TEXT)})
            log.error(Secret(TEXT))
            try:
                raise ValueError(Secret(TEXT))
            except ValueError:
                log.exception("with exc_info")
    finally:
        log.removeHandler(handler)
    assert stream.getvalue().count(MASK) == 5
    assert TEXT not in stream.getvalue() and TEXT not in caplog.text
    assert TEXT not in repr([record.__dict__ for record in caplog.records])


def test_tracebacks_with_locals():
    def connect(password):
        login = Login("ann", password)
        held = {"password": password, "login": login, "reveal": password.reveal}
        raise OSError("refused", held)

    try:
        connect(Secret(TEXT))
    except OSError as exc:
        shown = "".join(traceback.TracebackException.from_exception(exc, capture_locals=True).format())
        console = rich.console.Console(file=io.StringIO(), width=200)
        console.print(rich.traceback.Traceback.from_exception(type(exc), exc, exc.__traceback__, show_locals=True))
    for text in (shown, console.file.getvalue()):
        assert "held" in text and MASK in text  # it did look at the locals
        assert TEXT not in text


def test_equality_and_hash():
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a" and "a" != Secret("a")
    assert Secret("a\udc80") != Secret("a?") and Secret("a\udc80") == Secret("a\udc80")
    assert hash(Secret("a")) == hash(Secret("b")), "a hash would be something to try guesses on"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


@pytest.mark.parametrize("text", AWKWARD, ids=lambda t: ascii(t[:12]))
def test_reveal_gives_what_it_was_given(text):
    assert Secret(text).reveal() == text
    assert Secret(text) == Secret(text) != Secret(text + "x")


@pytest.mark.parametrize("wrong", ["", None, b"hunter2-hunter2", 12345678, ["hunter2-hunter2"], Secret(TEXT)])
def test_what_is_no_text_is_refused_unshown(wrong):
    with pytest.raises(CredentialsError, match="text, and not empty") as caught:
        Secret(wrong)
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
    assert "hunter2" not in repr(frames[-1].locals) and "12345678" not in repr(frames[-1].locals)


# ------------------------------------------------------------------------- masked

FORMS = {
    "plain": lambda t: t,
    "repr": repr,
    "repr of both quotes": lambda t: repr(f"""it's "{t}" """),
    "repr of a dict": lambda t: repr({"password": t, "n": 1}),
    "repr of a repr": lambda t: repr(repr({"password": t})),
    "bytes": lambda t: repr(t.encode(errors="surrogateescape")),
    "json": lambda t: json.dumps({"password": t}),
    "json as it is": lambda t: json.dumps({"password": t}, ensure_ascii=False),
    "json in json": lambda t: json.dumps({"body": json.dumps({"password": t})}),
    "quoted": lambda t: urllib.parse.quote(t, errors="surrogateescape"),
    "quoted all": lambda t: f"https://u:{urllib.parse.quote(t, safe='', errors='surrogateescape')}@host/",
    "quoted in small letters": lambda t: re_lower(urllib.parse.quote(t, safe="", errors="surrogateescape")),
    "form": lambda t: urllib.parse.urlencode({"password": t}, errors="surrogateescape"),
    "base64": lambda t: base64.b64encode(t.encode(errors="surrogateescape")).decode(),
    "base64 for URLs": lambda t: base64.urlsafe_b64encode(t.encode(errors="surrogateescape")).decode(),
    "basic auth, user of 1": lambda t: base64.b64encode(b"u:" + t.encode(errors="surrogateescape")).decode(),
    "basic auth, user of 2": lambda t: base64.b64encode(b"us:" + t.encode(errors="surrogateescape")).decode(),
    "basic auth, user of 3": lambda t: base64.b64encode(b"use:" + t.encode(errors="surrogateescape") + b"!").decode(),
    "html": html.escape,
    "KeyError": lambda t: str(KeyError(t)),
    "OSError": lambda t: str(OSError(2, "refused", f"host/{t}")),
    "UnicodeError": lambda t: repr(UnicodeDecodeError("utf-8", t.encode(errors="surrogateescape"), 0, 1, "bad")),
}


def re_lower(quoted):
    return "".join(f"%{part[:2].lower()}{part[2:]}" if i else part for i, part in enumerate(quoted.split("%")))


def traces(text, shown):
    """Stretches of a secret that a text shows: 7 of its own characters, or 12 of its base64."""
    data = text.encode(errors="surrogateescape")
    plain = {text[i : i + 7] for i in range(max(1, min(len(text) - 6, 50)))}
    for skip in range(3):
        coded = base64.b64encode(data[skip:]).decode().rstrip("=")[:-1]
        plain |= {coded[i : i + 12] for i in range(max(1, min(len(coded) - 11, 50)))}
    return [part for part in plain if part in shown]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", AWKWARD, ids=lambda t: ascii(t[:12]))
def test_no_form_is_left(text, form):
    shown = f"begin {FORMS[form](text)} end"
    clean = masked(shown, [Secret("other-secret"), Secret(text)])
    assert MASK in clean
    assert traces(text, clean) == []
    assert clean.startswith("begin ") and clean.endswith(" end")


def test_traces_can_be_found():
    assert traces(TEXT, f"x{TEXT[3:]}") and traces(TEXT, FORMS["basic auth, user of 2"](TEXT))


def test_a_line_of_a_key_in_many_lines():
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0\nBAQEFAASCBKcwggSj\n-----END KEY-----\n"
    assert masked("cannot parse line MIIEvQIBADANBgkqhkiG9w0", [Secret(key)]) == f"cannot parse line {MASK}"
    assert masked(f"cannot parse {key.strip()}", [Secret(key)]) == f"cannot parse {MASK}"


@pytest.mark.parametrize(
    ("secret", "text", "expected"),
    [
        ("a", "user a failed with a=a, (a)", f"user {MASK} failed with {MASK}={MASK}, ({MASK})"),
        ("42", "pin 42 at line 1424", f"pin {MASK} at line 1424"),
        ("x:1", "x:1 x:11 'x:1'", f"{MASK} x:11 '{MASK}'"),
        ("abcd", "xabcdx", f"x{MASK}x"),
        ("é", "café é", f"café {MASK}"),
        ("***", "*** of x***", f"{MASK} of x***"),
    ],
)
def test_short_secrets_do_not_shred_the_message(secret, text, expected):
    assert masked(text, [Secret(secret)]) == expected


def test_one_secret_within_another():
    assert masked("pass password", [Secret("pass"), Secret("password")]) == f"{MASK} {MASK}"


def test_nothing_to_mask():
    assert masked("as it is", []) == "as it is"
    assert masked("", [Secret(TEXT)]) == ""


# ------------------------------------------------------------------------- cleaned


class DriverError(Exception):
    """As a driver writes one: it holds what it was given."""

    def __init__(self, message, connection=None):
        super().__init__(message, connection)
        self.connection = connection


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError(TEXT)

    __repr__ = __str__


class NoText(Exception):
    def __str__(self):
        return None


class Falsy(Exception):
    def __len__(self):
        return 0


class Ours(BackendError):
    def __str__(self):
        return f"ours: {self.detail}"


def raised(make, cause=None):
    """An exception with a frame whose local is the secret."""
    password = "".join(TEXT)
    try:
        try:
            raise make(password)
        except BaseException as exc:
            if cause is not None:
                exc.__cause__ = cause
            raise
    except BaseException as exc:
        return exc


def every(exc):
    """An exception and all that is reachable from it."""
    seen, queue = [], [exc]
    while queue:
        each = queue.pop()
        if each is not None and not any(each is other for other in seen):
            seen.append(each)
            queue += [each.__cause__, each.__context__, *getattr(each, "exceptions", ())]
    return seen


def assert_clean(exc, secret=TEXT):
    for each in every(exc):
        assert each.__traceback__ is None
        assert isinstance(each, D6tstoreError) or not isinstance(each, Exception)
        held = f"{each} {each!r} {each.args} {vars(each)}"
        assert traces(secret, held) == []
        if len(each.args) == 1 and isinstance(each, D6tstoreError):
            pickle.loads(pickle.dumps(each))
    console = rich.console.Console(file=io.StringIO(), width=200)
    console.print(rich.traceback.Traceback.from_exception(type(exc), exc, None, show_locals=True))
    shown = "".join(traceback.TracebackException.from_exception(exc, capture_locals=True).format())
    assert traces(secret, shown + console.file.getvalue() + pickle.dumps(str(exc)).decode("latin-1")) == []


FOREIGN = {
    "text": lambda p: ValueError(f"cannot log in with {p}"),
    "attribute": lambda p: DriverError("refused", {"password": p}),
    "KeyError": lambda p: KeyError(p),
    "quoted": lambda p: OSError(111, f"http://u:{p}@host refused", p),
    "bytes": lambda p: UnicodeDecodeError("utf-8", p.encode(), 0, 1, p),
    "group": lambda p: ExceptionGroup(f"all with {p}", [ValueError(p), ExceptionGroup("inner", [KeyError(p)])]),
    "no text": lambda p: NoText(p),
    "unprintable": lambda p: Unprintable(p),
    "huge": lambda p: ValueError(f"{p} " * 100_000),
    "falsy": lambda p: Falsy(p),
    "syntax": lambda p: SyntaxError("bad", ("file", 1, 2, f"password={p}")),
    "empty": lambda p: ConnectionError(),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_error_becomes_text(name):
    exc = raised(FOREIGN[name])
    exc.add_note(f"note: {TEXT}")
    new = cleaned(exc, [Secret(TEXT)])
    assert type(new) is ForeignError and new is not exc
    assert str(new).startswith(described(exc).split(":")[0])
    assert "(credentials/test_secret.py, line" in str(new), "where it came from is told"
    assert new.__notes__ == [f"note: {MASK}"]
    assert len(str(new)) < 2_100
    assert_clean(new)


def test_type_and_text_of_a_group_and_its_members():
    new = cleaned(FOREIGN["group"](TEXT), [Secret(TEXT)])
    assert f"ExceptionGroup: all with {MASK} (2 sub-exceptions); ValueError: {MASK}" in str(new)
    assert f"KeyError: '{MASK}'" in str(new)


OURS = {
    "text": lambda p: Denied(f"no access with {p}"),
    "held": lambda p: Held("busy", info={"who": p, "pid": 3, "n": [p, {p}, None, 1.5, True]}),
    "not found": lambda p: NotFound(f"no {p}"),
    "args": lambda p: _with_args(BackendError("x"), (f"pw {p}", {"p": p}, (p,), p.encode())),
    "object": lambda p: BackendError("x", connection=DriverError("x", p), login=Login(p, Secret(p))),
    "own text": lambda p: Ours(detail=f"pw {p}"),
    "notes": lambda p: _with_note(Denied("no"), p),
    "errno": lambda p: _with_file(Denied("no"), p),
    "foreign": lambda p: ForeignError(f"ValueError: {p}"),
}


def _with_args(exc, args):
    exc.args = args
    return exc


def _with_note(exc, text):
    exc.add_note(text)
    return exc


def _with_file(exc, name):
    exc.filename = exc.strerror = name
    return exc


@pytest.mark.parametrize("name", OURS)
def test_ours_keep_their_type(name):
    exc = raised(OURS[name], cause=raised(FOREIGN["attribute"]))
    new = cleaned(exc, [Secret(TEXT)])
    assert type(new) is type(exc)
    assert type(new.__cause__) is ForeignError
    assert getattr(new, "filename", None) is None
    assert_clean(new)


def test_what_ours_say_is_kept():
    held = cleaned(raised(OURS["held"]), [Secret(TEXT)])
    assert held.info == {"who": MASK, "pid": 3, "n": [MASK, (MASK,), None, 1.5, True]}
    assert str(held) == "busy"
    assert str(cleaned(Ours(detail="d"), [])) == "ours: d"
    assert cleaned(OURS["object"](TEXT), [Secret(TEXT)]).connection == "<DriverError>"
    assert cleaned(OURS["notes"](TEXT), [Secret(TEXT)]).__notes__ == [MASK]


def test_the_whole_chain():
    root = raised(FOREIGN["attribute"])
    middle = raised(FOREIGN["KeyError"])
    middle.__context__ = root  # implicit: raised while another was handled
    top = raised(OURS["text"], cause=middle)
    new = cleaned(top, [Secret(TEXT)])
    chain = [new, new.__cause__, new.__cause__.__cause__]
    assert [type(e) for e in chain] == [Denied, ForeignError, ForeignError]
    assert [str(e).split(":")[0] for e in chain[1:]] == ["KeyError", "test_secret.DriverError"]
    assert chain[-1].__cause__ is None
    assert_clean(new)


def test_a_suppressed_context_is_dropped():
    exc = raised(OURS["text"])
    exc.__context__, exc.__suppress_context__ = raised(FOREIGN["text"]), True
    assert len(every(cleaned(exc, [Secret(TEXT)]))) == 1


def test_cycles_and_long_chains_end():
    one, two = ValueError(TEXT), KeyError(TEXT)
    one.__cause__, two.__cause__ = two, one
    assert len(every(cleaned(one, [Secret(TEXT)]))) == 2
    first = exc = ValueError(TEXT)
    for _ in range(5_000):
        exc.__cause__ = exc = ValueError(TEXT)
    new = cleaned(first, [Secret(TEXT)])
    length = 0
    while new is not None:
        new, length = new.__cause__, length + 1
    assert length == 5_001


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_ctrl_c_stays_what_it_is_alone(kind):
    exc = raised(kind, cause=raised(FOREIGN["attribute"]))
    exc.add_note(TEXT)
    new = cleaned(exc, [Secret(TEXT)])
    assert type(new) is kind and len(every(new)) == 1 and not hasattr(new, "__notes__")
    assert new.args == ((MASK,) if kind is SystemExit else ())
    assert_clean(new)


def test_what_ends_a_program_keeps_nothing_else():
    assert cleaned(SystemExit(3), []).code == 3 and cleaned(SystemExit(), []).code is None
    assert cleaned(SystemExit(TEXT), [Secret(TEXT)]).code == MASK

    class Strange(BaseException):
        dsn = TEXT

        def __str__(self):
            return self.dsn

    for exc in (Strange(), BaseExceptionGroup("m", [KeyboardInterrupt(TEXT), ValueError(TEXT)])):
        new = cleaned(exc, [Secret(TEXT)])
        assert type(new) is ForeignError and TEXT not in str(new)


def test_without_secrets_frames_go_all_the_same():
    new = cleaned(raised(lambda p: ValueError("refused"), cause=raised(lambda p: KeyError("k"))), [])
    assert (type(new), str(new).split(" (")[0]) == (ForeignError, "ValueError: refused")
    assert [e.__traceback__ for e in every(new)] == [None, None]


# -------------------------------------------------------------------------- veiled


@pytest.mark.parametrize("kind", [CredentialsError, Denied, UserWarning])
def test_arguments_are_in_no_frame(kind):
    @veiled
    def opened(url, **options):
        try:
            raise KeyError(url)
        except KeyError:
            raise kind("refused") from None

    with pytest.raises(kind) as caught:
        opened(*[f"https://u:{TEXT}@host"], password="".join(TEXT))
    trace = caught.value.__traceback__.tb_next  # below this test, whose own frame it cannot hide
    assert TEXT not in repr(traceback.StackSummary.extract(traceback.walk_tb(trace), capture_locals=True))
    while trace is not None:
        assert TEXT not in repr(trace.tb_frame.f_locals)
        trace = trace.tb_next


def test_a_defect_keeps_its_frames():
    @veiled
    def opened(url):
        return 1 / 0

    with pytest.raises(ZeroDivisionError) as caught:
        opened("x")
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "opened"
    assert veiled(lambda x: x + 1)(1) == 2
