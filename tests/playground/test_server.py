"""A real server, visitors without a browser."""

from __future__ import annotations

import io
import socket
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import requests
from PIL import Image

from metacortex.estimators.source import default_source
from metacortex.playground.app import COOKIE, create_app
from metacortex.playground.limits import Limits
from metacortex.playground.server import Playground, serving
from metacortex.playground.teacher import Teacher

from .play_support import SYMBOLS, Client, png, symbol
from .test_uploads import bomb

Visit = Callable[[], Client]


def test_teach_ask_and_why(visit: Visit) -> None:
    client = visit()
    for name in SYMBOLS[:3]:
        state = client.teach(name, 0, 1)
    assert state["learned"]["examples"] == 6
    assert [c["name"] for c in state["classes"]] == list(SYMBOLS[:3])
    answer = client.ask("cross")
    assert answer["answer"] == "cross"
    assert sum(p["p"] for p in answer["probabilities"]) == pytest.approx(1, abs=1e-3)
    names = {c["id"]: c["name"] for c in state["classes"]}
    drawings = {d["id"]: names[d["class"]] for d in answer["drawings"]}
    assert drawings[answer["nearest"]] == "cross"
    assert drawings[answer["counter"]] != "cross"
    why = client.call("GET", f"/api/queries/{answer['query']}/why")
    assert np.array(why["pixels"]).shape == np.array(why["seen"]).shape == (28, 28)
    assert len(why["map"]["drawings"]) == 6
    assert [s["number"] for s in why["steps"]["steps"]] == [1, 2, 3, 4, 5, 6]
    found = {"ready": False}
    for _ in range(200):
        found = client.call("GET", f"/api/queries/{answer['query']}/rival")
        if found["ready"]:
            break
        time.sleep(0.3)
    assert found["ready"]
    assert sum(p["p"] for p in found["probabilities"]) == pytest.approx(1, abs=1e-3)
    assert client.call("GET", f"/api/queries/{answer['query']}") | {"seconds": 0} == answer | {"seconds": 0}


def test_changes_and_undo(visit: Visit) -> None:
    client = visit()
    client.teach("ring", 0)
    state = client.teach("cross", 0)
    ring, cross = state["classes"]
    assert client.call("PATCH", f"/api/classes/{ring['id']}", json={"name": "O"})["classes"][0]["name"] == "O"
    assert client.call("DELETE", f"/api/drawings/{cross['drawings'][0]}")["learned"]["ready"] is False
    assert client.call("DELETE", f"/api/classes/{cross['id']}")["classes"][0]["name"] == "O"
    assert client.call("POST", "/api/clear")["classes"] == []
    for _ in range(4):
        state = client.call("POST", "/api/undo")
    assert [c["name"] for c in state["classes"]] == ["ring", "cross"]
    assert state["learned"]["ready"]
    assert state["said"] == "undone: ring renamed O"
    picture = client.send("GET", f"/api/drawings/{ring['drawings'][0]}")
    assert Image.open(io.BytesIO(picture.content)).size == (112, 112)


def test_alphabets_and_questions_of_the_machine(visit: Visit) -> None:
    client = visit()
    state = client.call("POST", "/api/alphabets", json={"name": "Armenian"})
    assert len(state["classes"]) == 5
    assert all(c["example"] and len(c["drawings"]) == 1 for c in state["classes"])
    more = client.call("POST", f"/api/classes/{state['classes'][0]['id']}/examples")
    assert len(more["classes"][0]["drawings"]) == 2
    answers = [client.call("POST", "/api/queries/example") for _ in range(12)]
    assert sum(a["truth"] == a["probabilities"][_best(a)]["name"] for a in answers) >= 6  # by chance 2.4
    client.refused(404, "POST", "/api/alphabets", json={"name": "Klingon"})
    other = visit()
    other.teach("ring", 0)
    assert "example alphabet" in other.refused(409, "POST", "/api/queries/example")


def _best(answer: dict) -> int:
    return int(np.argmax([p["p"] for p in answer["probabilities"]]))


def test_skills_round_trip(visit: Visit) -> None:
    client = visit()
    client.teach("ring", 0)
    client.teach("cross", 0)
    state = client.call("POST", "/api/skills", json={"name": "signs"})
    (skill,) = state["skills"]
    assert (skill["name"], skill["classes"], skill["examples"]) == ("signs", ["ring", "cross"], 2)
    assert state["skill"] == skill["id"]
    client.call("POST", "/api/alphabets", json={"name": "Georgian"})
    client.call("POST", "/api/skills", json={"name": "letters"})
    began = time.perf_counter()
    state = client.call("POST", f"/api/skills/{skill['id']}/use")
    assert time.perf_counter() - began < 2
    assert [c["name"] for c in state["classes"]] == ["ring", "cross"]
    file = client.send("GET", f"/api/skills/{skill['id']}/file")
    assert file.headers["content-disposition"] == 'attachment; filename="signs.skill.zip"'
    assert zipfile.is_zipfile(io.BytesIO(file.content))
    # Another visitor loads it.
    other = visit()
    state = other.call("POST", "/api/skills/file", data=file.content)
    assert [s["name"] for s in state["skills"]] == ["signs"]
    assert state["skill"] == state["skills"][0]["id"]
    assert other.ask("cross")["answer"] == "cross"
    state = client.call("DELETE", f"/api/skills/{skill['id']}")
    assert [s["name"] for s in state["skills"]] == ["letters"]
    assert state["skill"] is None
    client.refused(404, "POST", f"/api/skills/{skill['id']}/use")


def test_visitors_see_nothing_of_each_other(visit: Visit) -> None:
    one, other = visit(), visit()
    one.teach("ring", 0)
    state = one.teach("cross", 0)
    skill = one.call("POST", "/api/skills", json={"name": "mine"})["skills"][0]["id"]
    query = one.ask("ring")["query"]
    assert other.call("GET", "/api/state")["classes"] == []
    drawing, concept = state["classes"][0]["drawings"][0], state["classes"][0]["id"]
    for method, path in [
        ("GET", f"/api/drawings/{drawing}"), ("DELETE", f"/api/drawings/{drawing}"),
        ("DELETE", f"/api/classes/{concept}"), ("POST", f"/api/classes/{concept}/examples"),
        ("GET", f"/api/queries/{query}"), ("GET", f"/api/queries/{query}/why"), ("GET", f"/api/queries/{query}/rival"),
        ("GET", f"/api/skills/{skill}/file"), ("POST", f"/api/skills/{skill}/use"), ("DELETE", f"/api/skills/{skill}"),
    ]:  # fmt: skip
        other.refused(404, method, path)
    assert one.call("GET", "/api/state")["classes"] == state["classes"]


def test_the_cookie(visit: Visit, address: str) -> None:
    client = visit()
    response = client.send("GET", "/api/state")
    cookie = response.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert "set-cookie" not in client.send("GET", "/api/state").headers
    chosen = requests.get(f"{address}/api/state", cookies={COOKIE: "chosen-by-somebody"}, timeout=60)
    assert chosen.cookies[COOKIE] != "chosen-by-somebody"


def test_pages_run_nothing_from_elsewhere(visit: Visit) -> None:
    client = visit()
    page = client.send("GET", "/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    for name in ("/app.css", "/app.js", "/api.js", "/pad.js", "/symbols.js", "/answer.js", "/skills.js", "/waves.js"):
        text = client.send("GET", name).text
        assert not {"innerHTML", "insertAdjacentHTML", "eval(", "document.write"} & set(text.replace("(", "( ").split())
        assert "innerHTML" not in text
        assert "https://" not in text.replace("http://www.w3.org", "")
    assert "<script>" not in page.text
    assert " style=" not in page.text


def test_wrong_uploads(visit: Visit) -> None:
    client = visit()
    client.teach("ring", 0)
    client.teach("cross", 0)
    assert "not an image" in client.refused(415, "POST", "/api/queries", data=b"hello")
    assert "pixels" in client.refused(413, "POST", "/api/queries", data=bomb())
    assert "too large" in client.refused(413, "POST", "/api/queries", data=b"\0" * 4_000_001)
    assert "nothing in this picture" in client.refused(422, "POST", "/api/queries", data=png(Image.new("L", (9, 9))))
    client.refused(400, "POST", "/api/queries", data=b"")
    client.refused(413, "POST", "/api/queries", data=iter([b"\0" * 1_000_000] * 5))  # chunked: its size is not said
    client.refused(413, "POST", "/api/classes", data=b"x" * 20_000)
    client.refused(415, "POST", "/api/skills/file", data=b"hello")
    for body in (b"", b"[]", b"{}", b'{"name": 5}', b'{"name": ""}', b"\xff", b"[" * 9_000):
        client.refused(400, "POST", "/api/classes", data=body)
    client.refused(400, "POST", "/api/function", json={"points": [[99, 0]]})
    assert client.ask("ring")["answer"] == "ring"


def test_unknown_addresses(visit: Visit) -> None:
    client = visit()
    for path in ("/nothing", "/api/nothing", "/docs", "/openapi.json", "/page/app.js", "/../pyproject.toml",
                 "/%2e%2e/limits.py", "/app.css/../../limits.py", "/api/drawings/..%2f..%2fetc"):  # fmt: skip
        client.refused(404, "GET", path)
    client.refused(404, "PUT", "/api/state")
    client.refused(404, "POST", "/")


def test_changes_from_other_sites_are_refused(visit: Visit, address: str) -> None:
    client = visit()
    client.refused(403, "POST", "/api/clear", headers={"Origin": "http://evil.example"})
    client.refused(403, "POST", "/api/clear", headers={"Sec-Fetch-Site": "cross-site"})
    client.refused(403, "POST", "/api/clear", headers={"X-Metacortex": None})
    client.call("POST", "/api/clear", headers={"Origin": address, "Sec-Fetch-Site": "same-origin"})
    for host in ("evil.example", "localhost.evil.example:80", ""):
        client.refused(421, "GET", "/api/state", headers={"Host": host})
        client.refused(421, "GET", "/", headers={"Host": host})
    client.call("GET", "/api/state", headers={"Host": "localhost:1"})


def test_rates() -> None:
    limits = Limits(rate=0.5, burst=6, new_rate=0.01, new_burst=2)
    with serving(Playground(default_source(), limits=limits)) as address:
        one, other, third = Client(address), Client(address), Client(address)
        answers = [one.send("GET", "/api/state") for _ in range(8)]
        assert [a.status_code for a in answers[:6]] == [200] * 6
        assert answers[7].status_code == 429
        assert int(answers[7].headers["retry-after"]) >= 1
        other.call("GET", "/api/state")
        assert "new visitors" in third.refused(429, "GET", "/api/state")
        for client in (one, other, third):
            client.session.close()


def test_fifty_visitors_at_once() -> None:
    """Each gets right answers about its own classes, and nobody is turned away."""

    def visit(number: int) -> int:
        client, right = Client(address), 0
        names = [SYMBOLS[(number + i) % 4] for i in range(2)]
        for name in names:
            client.teach(name, number, called=f"{name} of {number}")
        for name in names:
            answer = client.ask(name, 1000 + number)
            right += answer["probabilities"][_best(answer)]["name"] == f"{name} of {number}"
        state = client.call("GET", "/api/state")
        assert [c["name"] for c in state["classes"]] == [f"{name} of {number}" for name in names]
        client.session.close()
        return right

    # Where others use the machine, a turn may take long to come.
    playground = Playground(default_source(), limits=Limits(wait=120))
    with serving(playground) as address, ThreadPoolExecutor(50) as pool:
        assert sum(pool.map(visit, range(50))) >= 90
    assert len(playground.app.state.visitors) == 50


def test_answers_take_less_than_a_tenth_of_a_second(visit: Visit) -> None:
    """From request to answer, reasons included, in time of the processor: others may be using it as well."""
    client = visit()
    for name in SYMBOLS:
        client.teach(name, 0, 1, 2)
    times = []
    for hand in range(8):
        data = png(symbol(SYMBOLS[hand % 4], 200 + hand))
        began = time.process_time()
        client.call("POST", "/api/queries", data=data)
        times.append(time.process_time() - began)
    assert min(times) < 0.1


def test_the_function_tab(visit: Visit) -> None:
    client = visit()
    points = [[0, 0], [1.5, 2], [-1.5, -2]]
    fit = client.call("POST", "/api/function", json={"points": points})
    assert len(fit["curves"]) == 11
    assert fit["losses"][-1] < fit["losses"][0]
    assert len(client.call("POST", "/api/function/rival", json={"points": points})["curve"]) == len(fit["grid"])


def test_defects_say_nothing_of_the_machine(teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    playground = Playground(default_source())
    monkeypatch.setattr(playground.app.state.actions, "limits", None)  # breaks every upload
    with serving(playground) as address:
        client = Client(address)
        said = client.refused(500, "POST", "/api/queries", data=png(symbol("ring")))
        client.session.close()
    assert said == "something went wrong on the server"


def test_no_host_is_checked_where_everybody_may_come(teacher: Teacher) -> None:
    assert create_app(teacher, hosts=None) is not None
    playground = Playground(default_source(), "0.0.0.0")
    with serving(playground) as address:
        client = Client(address)
        client.call("GET", "/api/state", headers={"Host": "my-machine.lan"})
        client.session.close()
    assert playground.open_to_all


def test_sockets_are_free_again(address: str) -> None:
    """Negative control of the fixture: the port is taken while it serves."""
    port = int(address.rsplit(":", 1)[1])
    with socket.socket() as sock, pytest.raises(OSError, match="in use"):
        sock.bind(("127.0.0.1", port))
