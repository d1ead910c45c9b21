"""What is hidden before a report leaves the unit."""

import pytest

from agent.redaction import redact, redact_text, redact_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://127.0.0.9/live", "rtsp://127.0.0.9/live"),
        ("rtsp://me:hunter2@127.0.0.9/live", "rtsp://…@127.0.0.9/live"),
        ("rtsp://me:h@hunter2@127.0.0.9/live", "rtsp://…@127.0.0.9/live"),
        ("rtsp://me:#hunter2/@127.0.0.9/live", "rtsp://…@127.0.0.9/live"),
        ("http://127.0.0.9/live?user=me&password=hunter2", "http://127.0.0.9/live?…"),
        ("http://127.0.0.9/live#hunter2", "http://127.0.0.9/live#…"),
        ("/dev/video0", "/dev/video0"),
    ],
)
def test_a_url_is_shown_without_user_password_and_key(url: str, shown: str) -> None:
    assert redact_url(url) == shown
    assert redact_text(f"camera {url} is away: see it") == f"camera {shown} is away: see it"


def test_a_url_with_a_space_in_it_is_found_in_a_sentence_when_it_is_known() -> None:
    url = "rtsp://me:my hunter2@cam/live"
    assert redact_text(f"camera {url} is away", url) == "camera rtsp://…@cam/live is away"


def test_members_with_the_name_of_a_secret_are_hidden_however_deep_they_stand() -> None:
    given = {"name": "hand", "parts": [{"token": "abc", "pin": 1234, "password": None}], "key_file": "/etc/key.pem"}
    hidden = {"name": "hand", "parts": [{"token": "…", "pin": "…", "password": None}], "key_file": "/etc/key.pem"}
    assert redact(given) == hidden
