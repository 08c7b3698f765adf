"""The comment in the pull request, against a platform on this machine: written once, updated afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from redismove.review import post as posting
from redismove.review.post import PostError, Rest, post
from tests.support import forge as forges
from tests.support.forge import Forge

FIRST = "<!-- redismove review of stack prod -->\n## allowed\n"
SECOND = "<!-- redismove review of stack prod -->\n## refused\n"


@pytest.fixture
def forge() -> Iterator[Forge]:
    with forges.running() as running:
        yield running


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trying again waits a little, here less."""
    at_once = Rest.__init__
    monkeypatch.setattr(Rest, "__init__", lambda self, base, token: at_once(self, base, token, wait_s=0.001))


@pytest.fixture
def github(forge: Forge, tmp_path: Path) -> dict[str, str]:
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"action": "synchronize", "number": 7, "pull_request": {"number": 7}}))
    return {
        "GITHUB_API_URL": forge.url,
        "GITHUB_REPOSITORY": forges.REPOSITORY,
        "GITHUB_TOKEN": forges.TOKEN,
        "GITHUB_EVENT_PATH": str(event),
    }


@pytest.fixture
def azure(forge: Forge) -> dict[str, str]:
    return {
        "SYSTEM_COLLECTIONURI": f"{forge.url}/",
        "SYSTEM_TEAMPROJECTID": "project-1",
        "BUILD_REPOSITORY_ID": "repository-1",
        "SYSTEM_PULLREQUEST_PULLREQUESTID": "7",
        "SYSTEM_ACCESSTOKEN": forges.TOKEN,
    }


def test_github_gets_one_comment_that_is_updated(forge: Forge, github: dict[str, str]) -> None:
    forge.comment("looks good to me", by="User")

    said = [post("github", text, allowed=True, environment=github) for text in (FIRST, SECOND, SECOND)]

    assert [words.rsplit(": ")[-1] for words in said] == ["comment written", "comment updated", "comment is current"]
    assert [comment["body"] for comment in forge.comments] == ["looks good to me", SECOND]


def test_github_finds_its_comment_behind_many_others(forge: Forge, github: dict[str, str]) -> None:
    for number in range(230):
        forge.comment(f"comment {number}", by="User")
    ours = forge.comment(FIRST)
    forge.comment("one more", by="User")

    post("github", SECOND, allowed=False, environment=github)

    assert ours["body"] == SECOND
    assert len(forge.comments) == 232


def test_github_keeps_the_comments_of_two_stacks_apart(forge: Forge, github: dict[str, str]) -> None:
    other = FIRST.replace("prod", "prod2")
    post("github", FIRST, allowed=True, environment=github)
    post("github", other, allowed=True, environment=github)

    assert [comment["body"] for comment in forge.comments] == [FIRST, other]


def test_github_line_ends_of_the_platform_are_no_difference(forge: Forge, github: dict[str, str]) -> None:
    forge.comment(FIRST.replace("\n", "\r\n"))

    said = post("github", FIRST, allowed=True, environment=github)

    assert said.endswith("comment is current")


@pytest.mark.parametrize("body", [FIRST, f"> {FIRST}", f"see below\n{FIRST}"])
def test_a_persons_comment_is_never_taken_for_ours(forge: Forge, github: dict[str, str], body: str) -> None:
    forge.comment(body, by="User")

    post("github", SECOND, allowed=False, environment=github)

    assert [comment["body"] for comment in forge.comments] == [body, SECOND]


def test_azure_gets_one_thread_that_is_updated_and_closed(forge: Forge, azure: dict[str, str]) -> None:
    forge.thread(FIRST, by="somebody-else")

    said = [
        post("azure", text, allowed=allowed, environment=azure)
        for text, allowed in ((SECOND, False), (FIRST, True), (FIRST, True))
    ]

    assert [words.rsplit(": ")[-1] for words in said] == ["comment written", "comment updated", "comment is current"]
    assert [thread["comments"][0]["content"] for thread in forge.threads] == [FIRST, FIRST]
    assert [thread["status"] for thread in forge.threads] == ["active", "closed"]


def test_azure_opens_the_thread_again_when_it_is_refused(forge: Forge, azure: dict[str, str]) -> None:
    forge.thread(FIRST, status="closed")

    post("azure", SECOND, allowed=False, environment=azure)

    assert [(t["comments"][0]["content"], t["status"]) for t in forge.threads] == [(SECOND, "active")]


def test_azure_writes_anew_where_the_thread_was_deleted(forge: Forge, azure: dict[str, str]) -> None:
    forge.thread(FIRST)["comments"][0]["isDeleted"] = True

    post("azure", SECOND, allowed=False, environment=azure)

    assert len(forge.threads) == 2


def test_a_busy_platform_is_asked_again(forge: Forge, github: dict[str, str]) -> None:
    forge.fail = [503, 429]

    post("github", FIRST, allowed=True, environment=github)

    assert [asked.split()[0] for asked in forge.asked] == ["GET", "GET", "GET", "POST"]


def test_a_comment_is_not_written_twice_when_the_answer_was_lost(
    forge: Forge, github: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([(200, []), (502, {"message": "bad gateway"})])
    monkeypatch.setattr(forge, "answer", lambda *_: next(answers))

    with pytest.raises(PostError, match=r"found status 502"):
        post("github", FIRST, allowed=True, environment=github)

    assert [asked.split()[0] for asked in forge.asked] == ["GET", "POST"]


def test_a_platform_that_stays_busy_is_one_sentence(forge: Forge, github: dict[str, str]) -> None:
    forge.fail = [503] * 10

    with pytest.raises(PostError, match=r"found status 503, allowed 2xx, 4 times; run the job again"):
        post("github", FIRST, allowed=True, environment=github)


def test_a_refused_token_is_one_sentence_without_the_token(forge: Forge, github: dict[str, str]) -> None:
    with pytest.raises(PostError, match=r"found status 401 \(Bad credentials\).*permission") as caught:
        post("github", FIRST, allowed=True, environment={**github, "GITHUB_TOKEN": "wrong-token"})

    assert "wrong-token" not in str(caught.value)


def test_the_token_goes_to_no_other_address(forge: Forge, github: dict[str, str]) -> None:
    with forges.running() as elsewhere:
        forge.redirect_to = f"{elsewhere.url}/repos/{forges.REPOSITORY}/issues/7/comments"
        with pytest.raises(PostError, match="found status 302"):
            post("github", FIRST, allowed=True, environment=github)

        assert elsewhere.asked == []


@pytest.mark.parametrize(
    "base", ["http://api.example.com", "ftp://127.0.0.1", "api.example.com", "http://127.0.0.1.example.com"]
)
def test_the_token_is_never_sent_in_plain_text(github: dict[str, str], base: str) -> None:
    with pytest.raises(PostError, match="allowed https"):
        post("github", FIRST, allowed=True, environment={**github, "GITHUB_API_URL": base})


@pytest.mark.parametrize("missing", ["GITHUB_TOKEN", "GITHUB_REPOSITORY", "GITHUB_EVENT_PATH"])
def test_outside_of_a_job_of_github_it_says_what_is_missing(github: dict[str, str], missing: str) -> None:
    environment = {name: value for name, value in github.items() if name != missing}

    with pytest.raises(PostError, match=f"--post github: found no {missing}"):
        post("github", FIRST, allowed=True, environment=environment)


@pytest.mark.parametrize("event", ["", "[]", "{}", '{"pull_request": {}}'])
def test_an_event_without_a_pull_request_is_one_sentence(github: dict[str, str], event: str) -> None:
    Path(github["GITHUB_EVENT_PATH"]).write_text(event)

    with pytest.raises(PostError, match="found an event without a pull request's number"):
        post("github", FIRST, allowed=True, environment=github)


@pytest.mark.parametrize(
    "missing",
    ["SYSTEM_COLLECTIONURI", "SYSTEM_TEAMPROJECTID", "BUILD_REPOSITORY_ID", "SYSTEM_PULLREQUEST_PULLREQUESTID"],
)
def test_outside_of_a_job_of_azure_it_says_what_is_missing(azure: dict[str, str], missing: str) -> None:
    environment = {name: value for name, value in azure.items() if name != missing}

    with pytest.raises(PostError, match=f"--post azure: found no {missing}"):
        post("azure", FIRST, allowed=True, environment=environment)


def test_a_platform_that_is_not_there_is_one_sentence(github: dict[str, str]) -> None:
    with pytest.raises(PostError, match=r"found no answer .*, 4 times; run the job again"):
        post("github", FIRST, allowed=True, environment={**github, "GITHUB_API_URL": "http://127.0.0.1:9"})


def test_only_this_file_of_the_review_opens_a_connection() -> None:
    folder = Path(posting.__file__).parent
    speaking = [p.name for p in folder.glob("*.py") if "urllib.request" in p.read_text() or "requests" in p.read_text()]

    assert speaking == ["post.py"]
