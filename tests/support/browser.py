"""A real browser for one page: headless Chromium, driven through the DevTools protocol over a pipe."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


class Tab:
    """An open page. Errors of its scripts and everything it asks a network for are kept."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from, self._rest, self._sent = to_browser, from_browser, b"", 0
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._session: str | None = None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")

    def open(self, page: Path) -> None:
        """Load a file and wait until its scripts have run."""
        self._loaded = False
        self._call("Page.navigate", url=page.absolute().as_uri())
        while not self._loaded:
            self._note(self._receive())

    def value(self, expression: str) -> Any:
        """What a JavaScript expression gives."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def click(self, expression: str) -> None:
        """Click the middle of the element that an expression gives, with the mouse."""
        self.value(f"({expression}).scrollIntoView({{block: 'center'}})")
        box = self.value(
            f"(() => {{ const b = ({expression}).getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2] }})()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def choose(self, element_id: str, value: str) -> None:
        """Choose an option of a select element, as a person does: its event follows."""
        self.value(
            f"(e => {{ e.value = {json.dumps(value)}; e.dispatchEvent(new Event('input', {{bubbles: true}})) }})"
            f"(document.getElementById({json.dumps(element_id)}))"
        )

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._sent += 1
        message: dict[str, Any] = {"id": self._sent, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._sent:
                assert "error" not in answer, answer
                return dict(answer["result"])
            self._note(answer)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            content = os.read(self._from, 1 << 20)
            assert content, "the browser has gone"
            self._rest += content
        line, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(line))

    def _note(self, event: dict[str, Any]) -> None:
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Runtime.exceptionThrown":
            self.errors.append(str(parameters["exceptionDetails"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.errors.append(parameters["entry"]["text"])
        elif method == "Network.requestWillBeSent" and not parameters["request"]["url"].startswith("data:"):
            self.requests.append(parameters["request"]["url"])


@contextmanager
def browser(folder: Path) -> Iterator[Tab]:
    """A tab of a fresh browser whose profile is in `folder`; skips where there is no Chromium."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("no Chromium to open the page in")
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe"]

    def wire() -> None:
        # The browser reads descriptor 3 and writes 4; neither number may be closed before it is copied from.
        read, write = os.dup(to_read), os.dup(from_write)
        os.dup2(read, 3)
        os.dup2(write, 4)

    with subprocess.Popen(
        [program, *flags, f"--user-data-dir={folder}", "--window-size=1400,1200", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=wire,
        close_fds=False,
    ) as process:
        os.close(to_read)
        os.close(from_write)
        try:
            yield Tab(to_write, from_read)
        finally:
            os.close(to_write)
            process.terminate()
            process.wait(20)
            os.close(from_read)
