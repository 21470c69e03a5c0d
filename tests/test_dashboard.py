"""optuna-dashboard on a study of ours, over HTTP, and who is let in."""

import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from urllib.parse import quote
from wsgiref.types import StartResponse, WSGIEnvironment
from wsgiref.util import setup_testing_defaults

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import foldtune
from foldtune.cli.dashboard import TOKEN, dashboard
from foldtune.dashboard import COOKIE, guard, make_server
from foldtune.errors import RequestError
from foldtune.search.result import StudyResult

STUDY = {"name": "seen", "data": {"use": "iris"}, "model": "MLP", "training": {"epochs": 3}, "search": {"trials": 3}}
SECRET = "a token, ünd longer than sixteen"
AS_SENT = SECRET.encode().decode("latin-1")
"""In a header, as WSGI hands it over."""

Headers = dict[str, str]


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, StudyResult]:
    """A database and the study in it."""
    url = f"sqlite:///{tmp_path_factory.mktemp('dashboard')}/s.db"
    return url, foldtune.run_study(STUDY, storage=url, workers=0)


@contextmanager
def served(url: str, *, token: str | None = None, read_only: bool = False) -> Iterator[HTTPConnection]:
    """A connection to a running dashboard."""
    server = make_server(url, "127.0.0.1", 0, token=token, read_only=read_only)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=120)
    try:
        yield connection
    finally:
        connection.close()
        server.shutdown()
        server.server_close()
        thread.join()


def ask(connection: HTTPConnection, path: str, method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    return answer, answer.read()


def test_the_dashboard_shows_a_study_of_ours(studied: tuple[str, StudyResult]) -> None:
    url, result = studied
    with served(url) as connection:
        (listed,) = json.loads(ask(connection, "/api/studies")[1])["study_summaries"]
        shown = json.loads(ask(connection, f"/api/studies/{listed['study_id']}")[1])
    assert listed["study_name"] == "seen"
    assert [trial["values"] for trial in shown["trials"]] == [list(trial.values or ()) for trial in result.trials]
    assert all(len(trial["intermediate_values"]) == 2 for trial in shown["trials"])  # epochs 1 and 3, the rungs


def test_a_browser_shows_the_token_once(studied: tuple[str, StudyResult]) -> None:
    with served(studied[0], token=SECRET) as connection:
        assert ask(connection, "/api/studies")[0].status == 401
        assert ask(connection, f"/?token={quote('another token, just as long')}")[0].status == 401
        admitted, _ = ask(connection, f"/dashboard/?token={quote(SECRET)}&beta=1")
        cookie = admitted.headers["Set-Cookie"]
        assert (admitted.status, admitted.headers["Location"]) == (303, "/dashboard/?beta=1")
        assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and SECRET not in cookie
        assert ask(connection, "/api/studies", Cookie=f"other=1; {cookie.partition(';')[0]}")[0].status == 200


def test_read_only_refuses_what_would_write(studied: tuple[str, StudyResult]) -> None:
    url, _ = studied
    with served(url, read_only=True) as connection:
        answers = [ask(connection, "/api/studies/1", method)[0].status for method in ("DELETE", "POST", "PUT", "PATCH")]
        assert answers == [403] * 4
        assert ask(connection, "/api/studies")[0].status == 200
    assert foldtune.load_study("seen", storage=url).best is not None


def test_without_a_token_only_this_machine_s_names_are_answered(studied: tuple[str, StudyResult]) -> None:
    with served(studied[0]) as connection:
        statuses = [
            ask(connection, "/api/studies", Host=host)[0].status
            for host in ("localhost:8080", "127.0.0.1", "[::1]:80", "rebound.example:8080", "localhost.example", "[")
        ]
    assert statuses == [200, 200, 200, 403, 403, 403]


def reached(token: str | None, read_only: bool, **environ: str) -> tuple[bool, str, Headers]:
    """Whether a request comes through to the application, and the answer's status and headers."""
    inside: list[bool] = []
    answers: list[tuple[str, Headers]] = []

    def app(environ: WSGIEnvironment, respond: StartResponse) -> Iterable[bytes]:
        inside.append(True)
        respond("200 OK", [])
        return []

    def respond(status: str, headers: list[tuple[str, str]], *_: object) -> object:
        answers.append((status, dict(headers)))
        return None

    request: WSGIEnvironment = dict(environ)
    setup_testing_defaults(request)
    list(guard(app, token=token, read_only=read_only)(request, respond))  # type: ignore[arg-type]
    return bool(inside), *answers[0]


TEXTS = st.text(st.characters(codec="latin-1"), max_size=40)
METHODS = st.sampled_from(["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "get", "TRACE"])


@given(METHODS, TEXTS, TEXTS, TEXTS, TEXTS)
def test_nobody_comes_in_without_the_token(method: str, path: str, query: str, bearer: str, cookie: str) -> None:
    inside, status, _ = reached(
        SECRET,
        False,
        REQUEST_METHOD=method,
        PATH_INFO=f"/{path}",
        QUERY_STRING=f"token={query}",
        HTTP_AUTHORIZATION=f"Bearer {bearer}",
        HTTP_COOKIE=f"{COOKIE}={cookie}; {cookie}",
        HTTP_HOST="localhost",
    )
    assert not inside and status == "401 Unauthorized"


@given(METHODS)
def test_read_only_holds_for_those_who_know_the_token_too(method: str) -> None:
    inside, _, _ = reached(SECRET, True, REQUEST_METHOD=method, HTTP_AUTHORIZATION=f"Bearer {AS_SENT}")
    assert inside == (method in ("GET", "HEAD", "OPTIONS"))


@given(TEXTS)
@example("/other.example")
def test_the_way_in_leads_to_no_other_site(path: str) -> None:
    _, status, headers = reached(
        SECRET, False, REQUEST_METHOD="GET", PATH_INFO=f"/{path}", QUERY_STRING=f"token={quote(SECRET)}"
    )
    assert status == "303 See Other"
    location = headers["Location"]
    assert location.startswith("/") and not location.startswith("//") and location.isascii() and location.isprintable()
    assert "\\" not in location


def test_other_addresses_need_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, "")
    with pytest.raises(RequestError, match=r"other machines reach needs a token, however: --host 0\.0\.0\.0"):
        dashboard("sqlite:///missing.db", "0.0.0.0", 0, read_only=True)


def test_a_token_that_can_be_guessed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, "short")
    with pytest.raises(RequestError, match=r"must have at least 16 characters, however: 5\."):
        dashboard("sqlite:///missing.db", "127.0.0.1", 0, read_only=False)
