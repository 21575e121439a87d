# SPDX-License-Identifier: Apache-2.0
"""Chromium without a window, over the pipe of its DevTools protocol: messages of JSON, each with a 0 at its end."""
import base64
import json
import os
import pathlib
import select
import shutil
import struct
import subprocess
import tempfile
import time
import zlib

SECONDS = 60


def program():
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Browser:
    """One page of one browser, which ends with the block."""

    def __enter__(self):
        self.profile = tempfile.TemporaryDirectory(prefix="kvmbox-bench.", ignore_cleanup_errors=True)
        theirs, self.to = os.pipe()
        self.back, theirs_back = os.pipe()
        # It reads its commands from descriptor 3 and writes to 4. Its own sandbox is not for root; what it shows is ours.
        script = f'exec 3<&{theirs} 4>&{theirs_back}; exec "$@"'
        self.process = subprocess.Popen(
            ["bash", "-c", script, "_", program(), "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
             "--disable-dev-shm-usage", "--hide-scrollbars", f"--user-data-dir={self.profile.name}", "about:blank"],
            pass_fds=(theirs, theirs_back), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(theirs)
        os.close(theirs_back)
        self.rest, self.number, self.events, self.session = b"", 0, [], None
        try:
            target = self.ask("Target.createTarget", url="about:blank")["targetId"]
            self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Network", "Runtime"):
                self.ask(f"{domain}.enable")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        os.close(self.to)
        try:
            self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.back)
        self.profile.cleanup()

    def read(self):
        deadline = time.monotonic() + SECONDS
        while b"\0" not in self.rest:
            if not select.select([self.back], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"the browser has said nothing for {SECONDS} seconds")
            data = os.read(self.back, 1 << 20)
            if not data:
                raise RuntimeError("the browser has ended")
            self.rest += data
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def ask(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def open(self, path):
        self.events.clear()
        self.ask("Page.navigate", url=pathlib.Path(path).resolve().as_uri())
        while not any(each.get("method") == "Page.loadEventFired" for each in self.events):
            self.events.append(self.read())

    def requests(self):
        """What the page has asked for since it was opened, itself included."""
        return [each["params"]["request"]["url"] for each in self.events
                if each.get("method") == "Network.requestWillBeSent"]

    def show(self, width, height=844, scheme="light", media="screen"):
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
        self.ask("Emulation.setEmulatedMedia", media=media,
                 features=[{"name": "prefers-color-scheme", "value": scheme}])

    def evaluate(self, expression):
        result = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"]["exception"]["description"])
        return result["result"].get("value")

    def screenshot(self, whole=False):
        """A PNG of what is to be seen, or of the @whole page."""
        return base64.b64decode(self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"])

    def pdf(self):
        return base64.b64decode(self.ask("Page.printToPDF", preferCSSPageSize=True, printBackground=False)["data"])


def pixels(png):
    """The rows of a PNG of 8 bits, and the bytes of a pixel in them."""
    at, data, width, channels = 8, b"", 0, 0
    while at < len(png):
        length, name = struct.unpack(">I4s", png[at:at + 8])
        body = png[at + 8:at + 8 + length]
        if name == b"IHDR":
            width, _, depth, colours = struct.unpack(">IIBB", body[:10])
            channels = {2: 3, 6: 4}[colours]
            assert depth == 8
        elif name == b"IDAT":
            data += body
        at += length + 12
    data, stride, rows = zlib.decompress(data), width * channels, []
    before = bytes(stride)
    for start in range(0, len(data), stride + 1):
        how, row = data[start], bytearray(data[start + 1:start + 1 + stride])
        for i in range(stride):
            left, up = row[i - channels] if i >= channels else 0, before[i]
            corner = before[i - channels] if i >= channels else 0
            if how == 4:
                guess = left + up - corner
                near = min((abs(guess - left), 0, left), (abs(guess - up), 1, up), (abs(guess - corner), 2, corner))[2]
            else:
                near = (0, left, up, (left + up) // 2)[how]
            row[i] = (row[i] + near) & 255
        rows.append(bytes(row))
        before = row
    return rows, channels
