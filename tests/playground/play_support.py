"""Symbols to draw, and a client of a playground."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import requests
from PIL import Image, ImageDraw

from metacortex.playground.board import Board
from metacortex.playground.limits import Limits
from metacortex.playground.pictures import as_drawing

SYMBOLS = ("ring", "cross", "roof", "ladder")
SIDE = 120


def symbol(name: str, hand: int = 0) -> Image.Image:
    """A symbol, dark on white, as one of many hands draws it."""
    rng = np.random.default_rng(hand)
    image = Image.new("L", (SIDE, SIDE), 255)
    pen, width = ImageDraw.Draw(image), int(rng.integers(5, 9))

    def line(*points: tuple[float, float]) -> None:
        moved = [(SIDE * x + float(rng.normal(0, 3)), SIDE * y + float(rng.normal(0, 3))) for x, y in points]
        pen.line(moved, fill=0, width=width, joint="curve")

    if name == "ring":
        edge = rng.normal(0, 3, 4) + np.array([0.2, 0.2, 0.8, 0.8]) * SIDE
        pen.ellipse(edge.tolist(), outline=0, width=width)
    elif name == "cross":
        line((0.2, 0.2), (0.8, 0.8))
        line((0.8, 0.2), (0.2, 0.8))
    elif name == "roof":
        line((0.15, 0.7), (0.5, 0.25), (0.85, 0.7))
    else:
        line((0.3, 0.1), (0.3, 0.9))
        line((0.7, 0.1), (0.7, 0.9))
        for y in (0.3, 0.5, 0.7):
            line((0.3, y), (0.7, y))
    return image


def png(image: Image.Image) -> bytes:
    """The image as a file."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def board_of(names: tuple[str, ...] = SYMBOLS[:3], shots: int = 2) -> Board:
    """A board with some drawings of each symbol."""
    board, limits = Board(), Limits()
    for name in names:
        board = board.with_concept(name, limits)
        for hand in range(shots):
            drawing = as_drawing(np.asarray(symbol(name, hand)))
            board = board.with_drawing(board.concepts[-1].id, drawing, limits)
    return board


class Client:
    """A visitor without a browser."""

    def __init__(self, address: str) -> None:
        self.address, self.session = address, requests.Session()
        self.session.headers["X-Metacortex"] = "play"

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        """A request; whatever comes back."""
        return self.session.request(method, self.address + path, timeout=150, **options)

    def call(self, method: str, path: str, **options: Any) -> Any:
        """A request that must succeed; its JSON."""
        response = self.send(method, path, **options)
        assert response.status_code == 200, (method, path, response.status_code, response.text)
        return response.json()

    def refused(self, status: int, method: str, path: str, **options: Any) -> str:
        """A request that must be refused; what is said."""
        response = self.send(method, path, **options)
        assert response.status_code == status, (method, path, response.status_code, response.text)
        assert response.headers["content-type"] == "application/json"
        return response.json()["error"]

    def teach(self, name: str, *hands: int, called: str | None = None) -> Any:
        """A new class with drawings of a symbol."""
        state = self.call("POST", "/api/classes", json={"name": called or name})
        target = state["classes"][-1]["id"]
        for hand in hands:
            state = self.call("POST", f"/api/classes/{target}/drawings", data=png(symbol(name, hand)))
        return state

    def ask(self, name: str, hand: int = 99) -> Any:
        """An answer for a symbol."""
        return self.call("POST", "/api/queries", data=png(symbol(name, hand)))
