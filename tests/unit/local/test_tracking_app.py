import base64

import pytest

from pathcast.local.tracking_app import with_password


def call(header: str | None) -> tuple[str, bytes]:
    def app(environ, start_response):
        start_response("200 OK", [])
        return [b"inside"]

    statuses = []
    environ = {} if header is None else {"HTTP_AUTHORIZATION": header}
    protected = with_password(app, "pathcast", "right")
    body = b"".join(protected(environ, lambda status, headers: statuses.append(status)))
    (status,) = statuses
    return status, body


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("header", [basic("pathcast:right"), "b" + basic("pathcast:right")[1:]])
def test_the_password_opens(header):
    assert call(header) == ("200 OK", b"inside")


@pytest.mark.parametrize(
    "header",
    [None, "", "Basic", "Basic ", "Basic !!!", "Basic \xe4", basic(""), basic(":"), basic("pathcast:"),
     basic("pathcast:wrong"), basic("other:right"), basic("pathcast:right "), "Bearer right",
     basic("pathcast:right").replace("Basic", "Digest")],
)  # fmt: skip
def test_anything_else_does_not(header):
    status, body = call(header)
    assert status == "401 Unauthorized"
    assert b"inside" not in body
