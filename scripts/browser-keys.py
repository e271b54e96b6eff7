#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Presses keys and a mouse button on a page of `shootdown report --html`.

    scripts/browser-keys.py CHROMIUM PROFILE PAGE

What scripts/browser-test.js does with events that it makes, this does with those that the
browser itself delivers, over the pipe of its debugging protocol. Called by scripts/browser-test.
"""

import json
import os
import subprocess
import sys

chromium, profile, page = sys.argv[1:]


class Browser:
    """Messages end with a NUL; the browser reads them from 3 and writes to 4."""

    def __init__(self):
        to_browser, self.to = os.pipe()
        self.source, from_browser = os.pipe()

        def move():
            # Out of the way first: one of them may be 3 or 4.
            high = [os.dup(fd) for fd in (to_browser, from_browser)]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self.process = subprocess.Popen(
            [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=move, close_fds=False, stderr=subprocess.DEVNULL)
        os.close(to_browser)
        os.close(from_browser)
        self.rest = b""
        self.number = 0
        self.session = None

    def read(self):
        while b"\0" not in self.rest:
            more = os.read(self.source, 1 << 16)
            if not more:
                sys.exit("browser-keys: the browser is gone")
            self.rest += more
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == self.number:
                if "error" in answer:
                    sys.exit(f"browser-keys: {method}: {answer['error']}")
                return answer["result"]

    def wait(self, event):
        while self.read().get("method") != event:
            pass

    def value(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True,
                           returnByValue=True, userGesture=False)
        if "exceptionDetails" in result:
            sys.exit(f"browser-keys: {expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def key(self, name):
        codes = {"Home": 36, "End": 35, "ArrowDown": 40, "ArrowUp": 38}
        event = {"key": name, "windowsVirtualKeyCode": codes.get(name, ord(name[0].upper()))}
        if len(name) == 1:
            event["text"] = name
        self.call("Input.dispatchKeyEvent", type="keyDown", **event)
        self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    def click(self, id):
        x, y = self.value(f"""(() => {{
            const e = document.getElementById("{id}");
            e.scrollIntoView({{ block: "center", behavior: "instant" }});
            const r = e.getBoundingClientRect();
            return [r.x + r.width / 2, r.y + r.height / 2];
        }})()""")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


def same(what, got, want):
    if got != want:
        sys.exit(f"browser-keys: {what}: {got!r}, not {want!r}")


browser = Browser()
browser.call("Browser.grantPermissions",
             permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
target = browser.call("Target.createTarget", url="about:blank")["targetId"]
browser.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
browser.call("Page.enable")
browser.call("Page.navigate", url=f"file://{page}")
browser.wait("Page.loadEventFired")
browser.call("Page.bringToFront")

numbers = browser.value(
    "JSON.parse(document.getElementById('story').textContent).steps.map((s) => s.number)")
AT = "Number(document.querySelector('[aria-current=step]').dataset.step)"
for pressed, want in [
    (["Home"], numbers[0]), (["j", "j", "ArrowDown"], numbers[3]), (["k", "ArrowUp"], numbers[1]),
    (["End"], numbers[-1]), (["Home"], numbers[0]),
]:
    for name in pressed:
        browser.key(name)
    same(" ".join(pressed), browser.value(AT), want)

browser.click("on")
same("a click on the next step", browser.value(AT), numbers[1])
browser.click("copy")
said = browser.value("""new Promise((done) => {
    const look = () => {
        const said = document.getElementById("copied").textContent;
        if (said) done(said); else setTimeout(look, 20);
    };
    look();
})""")
same("the copy button says", said, "Copied.")
same("the clipboard", browser.value("navigator.clipboard.readText()"),
     browser.value("document.getElementById('scenario').textContent"))
browser.session = None
browser.call("Browser.close")
browser.process.wait(timeout=20)
print("browser-keys: all is well")
