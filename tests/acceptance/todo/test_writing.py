"""What is written over HTTP is published, and becomes an item by its handlers."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pabal import Bus
from tests.acceptance.todo.served import Client, client, saved, serving, texts


@pytest.mark.parametrize("url", [None, "memory://"])
async def test_an_item_goes_through_the_bus_to_the_database(tmp_path: Path, url: str | None) -> None:
    """202 with the message's id, which is the item's, on any transport."""
    async with serving(tmp_path, url=url) as address, client(address) as app:
        id = await app.add("buy milk")
        view = await app.until(lambda view: saved(view) == ["buy milk"] and view["on_their_way"] == 0)
        assert [row["id"] for row in view["items"]] == [id]


async def test_an_item_that_is_sent_again_is_added_once(app: Client) -> None:
    """Whoever had no answer repeats the id, and need not know whether the first one arrived."""
    new = {"item": "buy milk", "id": "8d7c30be-15a4-4e6f-a8c3-0d4bbba1f7f3"}
    for _ in range(2):
        assert (await app.http.post("/todo", json=new)).json() == {"id": new["id"]}
    await app.add("call mum")
    view = await app.until(lambda view: view["on_their_way"] == 0)
    assert saved(view) == ["call mum", "buy milk"]


async def test_a_form_field_is_taken_as_well(app: Client) -> None:
    """A program that posts a form gets the same answer as one that posts JSON."""
    response = await app.http.post("/todo", data={"item": "one"})
    assert response.status_code == 202
    response = await app.http.post("/todo", files={"item": (None, "two")})
    assert response.status_code == 202
    await app.until(lambda view: saved(view) == ["two", "one"])


async def test_the_form_works_without_javascript(app: Client) -> None:
    """A browser that sends the form itself is led back to the page, where the item is."""
    as_browser = {"Accept": "text/html,application/xhtml+xml"}
    response = await app.http.post("/todo", data={"item": "by hand"}, headers=as_browser)
    assert (response.status_code, response.headers["location"]) == (303, "/")
    assert "by hand" in (await app.http.get("/", headers=as_browser)).text


async def test_a_refused_form_keeps_what_was_typed(app: Client) -> None:
    """Without JavaScript too, nobody has to type an item again."""
    typed = "x" * 501
    response = await app.http.post("/todo", data={"item": typed}, headers={"Accept": "text/html"})
    assert response.status_code == 422
    assert f'value="{typed}"' in response.text
    assert "An item has at most 500 characters" in response.text


@pytest.mark.parametrize(
    ("status", "body", "content_type", "words"),
    [
        (400, b'{"item":', "application/json", "no JSON"),
        (400, b'{"item": "\\ud800"}', "application/json", "no JSON"),
        (422, b"[]", "application/json", "JSON object"),
        (422, b"{}", "application/json", "item"),
        (422, b'{"item": 5}', "application/json", "item"),
        (422, b'{"item": "x", "id": "1"}', "application/json", "UUID"),
        (422, b'{"item": "x", "id": 1}', "application/json", "UUID"),
        (422, b'{"item": " \\n "}', "application/json", "needs some text"),
        (422, '{"item": "\u200b"}'.encode(), "application/json", "needs some text"),
        (422, b"item=", "application/x-www-form-urlencoded", "needs some text"),
        (422, b"item=" + b"x" * 501, "application/x-www-form-urlencoded", "at most 500 characters"),
        (422, b"other=x", "application/x-www-form-urlencoded", "item"),
        (400, b"no multipart", "multipart/form-data; boundary=b", "multipart"),
        (415, b"buy milk", "text/plain", "application/json"),
        (415, b"buy milk", None, "application/json"),
        (413, b"item=" + b"x" * 65_536, "application/x-www-form-urlencoded", "64 KiB"),
    ],
)
async def test_what_is_no_item_is_refused_in_words(
    app: Client, status: int, body: bytes, content_type: str | None, words: str
) -> None:
    """The answer says what is wrong, and nothing is published."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    response = await app.http.post("/todo", content=body, headers=headers)
    assert response.status_code == status
    assert words in response.json()["error"]
    await app.add("the only one")
    view = await app.until(lambda view: saved(view) != [])
    assert texts(view) == ["the only one"]


async def test_a_body_without_a_length_has_the_same_limit(app: Client) -> None:
    """A client that streams cannot fill the memory."""

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 1024

    response = await app.http.post("/todo", content=endless(), headers={"Content-Type": "application/json"})
    assert response.status_code == 413


async def test_500_characters_are_not_too_many(app: Client) -> None:
    """The limit counts characters, not bytes."""
    await app.add("파" * 500)
    await app.until(lambda view: saved(view) == ["파" * 500])


async def test_items_are_ticked_off_and_removed_by_messages(app: Client) -> None:
    """A tick and a removal are published like a new item."""
    id = await app.add("buy milk")
    await app.until(lambda view: saved(view) == ["buy milk"])
    for done in (True, False, True):
        assert (await app.http.post(f"/todo/{id}/done", json={"done": done})).status_code == 202
        view = await app.until(lambda view: view["on_their_way"] == 0)
        assert [row["done"] for row in view["items"]] == [done]
    assert (await app.http.post(f"/todo/{id}/remove")).status_code == 202
    await app.until(lambda view: view["items"] == [] and view["on_their_way"] == 0)


async def test_the_mutating_handler_rewrites_items_once(app: Client, caplog: pytest.LogCaptureFixture) -> None:
    """It was added without touching the publisher, and its own message does not come back to it."""
    with caplog.at_level(logging.INFO, "todo.audit"):
        await app.add("call mum!!")
        await app.until(lambda view: saved(view) == ["★ call mum"])
        await app.switch("mutate", "stop")
        await app.add("as it is!!")
        await app.until(lambda view: "as it is!!" in saved(view))
    changed = [line for line in caplog.messages if "events.todo.itemchanged" in line]
    assert len(changed) == 1


async def test_the_audit_handler_logs_every_event(app: Client, caplog: pytest.LogCaptureFixture) -> None:
    """Stopped and started again, it logs what happened meanwhile."""
    await app.switch("audit", "stop")
    with caplog.at_level(logging.INFO, "todo.audit"):
        await app.add("buy milk")
        await app.until(lambda view: saved(view) == ["buy milk"])
        assert caplog.messages == []
        await app.switch("audit", "start")
        await app.add("last\nforged line")
        await app.switch("audit", "stop")
    assert {"events.todo.newitem", "events.todo.itemsaved"} <= {line.split()[0] for line in caplog.messages}
    assert all("\n" not in line for line in caplog.messages)


async def test_items_wait_while_no_save_handler_runs(app: Client) -> None:
    """They are counted as on their way, and saved when the handler starts again."""
    await app.switch("save", "stop")
    for item in ("one", "two", "three"):
        await app.add(item)
    view = await app.view()
    assert (texts(view), saved(view), view["on_their_way"]) == (["three", "two", "one"], [], 3)
    assert view["handlers"]["save"] == {"running": False, "problem": None}
    await app.switch("save", "start")
    view = await app.until(lambda view: view["on_their_way"] == 0)
    assert saved(view) == ["three", "two", "one"]


async def test_items_from_elsewhere_are_shown_too(tmp_path: Path) -> None:
    """Whoever publishes to the channel adds an item, and the page knows that it is on its way."""
    async with serving(tmp_path) as address, client(address) as app:
        await app.switch("save", "stop")
        async with Bus(f"sqlite:///{tmp_path}/messages.db") as bus:
            await bus.publish("events.todo.newitem", {"item": "from a terminal"})
        view = await app.until(lambda view: view["on_their_way"] == 1)
        assert texts(view) == ["from a terminal"]
        await app.switch("save", "start")
        await app.until(lambda view: saved(view) == ["from a terminal"])


async def test_what_no_handler_can_do_is_kept_as_a_dead_letter(app: Client) -> None:
    """It is shown, can be sent again, and goes only when somebody discards it."""
    await app.http.post("/todo/nobody/done", json={"done": True})
    while (view := await app.view())["dead"] != 1:  # no event tells of a death
        pass
    assert view["on_their_way"] == 0
    assert (await app.http.post("/dead-letters/redrive")).json() == {"sent": 1}
    while (await app.view())["dead"] != 1:
        pass
    assert (await app.http.post("/dead-letters/discard")).json() == {"discarded": 1}
    assert (await app.view())["dead"] == 0
