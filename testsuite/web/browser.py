"""A headless Chromium with WebGPU in software, and a server of files on localhost.

    with Site([folder, WEB]) as site, Browser() as browser:
        page = browser.open(site.url + "?autorun=1")
        page.wait_for("document.title == 'done'")

The browser is spoken to by its DevTools protocol through a pipe, which needs no packages.
"""

import base64
import functools
import http.server
import json
import os
import select
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WEB = os.path.join(ROOT, "backends", "driver", "web")

# Chromium's own software GPU, or the machine's. (Mesa's lavapipe runs no Chromium: Debian 12's is too old for it.)
ADAPTERS = {
    "swiftshader": ["--use-webgpu-adapter=swiftshader"],
    "native": ["--enable-features=Vulkan,VulkanFromANGLE,DefaultANGLEVulkan", "--ignore-gpu-blocklist"],
}
QUIET = [
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--disable-extensions",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
]


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the first file that the site's folders have under a path."""

    def __init__(self, *args, site, **kwargs):
        self.site = site
        super().__init__(*args, **kwargs)

    def translate_path(self, path):
        path = path.split("?", 1)[0].split("#", 1)[0].lstrip("/") or "index.html"
        if path in self.site.files:
            return self.site.files[path]
        candidates = [os.path.join(folder, path) for folder in self.site.folders if ".." not in path]
        return next((candidate for candidate in candidates if os.path.exists(candidate)), "/nowhere")

    def end_headers(self):
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def copyfile(self, source, outputfile):
        try:
            super().copyfile(source, outputfile)
        except ConnectionError:
            pass  # The page wants no more of it: the shaders are wrong.

    def log_message(self, *args):
        pass


class Site:
    """Folders as one site, the first that has a file counts; `files` are paths of single files."""

    def __init__(self, folders, files=None):
        self.folders, self.files = folders, files or {}
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, site=self))
        self.url = f"http://localhost:{self.server.server_address[1]}/"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class Browser:
    def __init__(self, adapter="swiftshader", size=(900, 1000)):
        self.adapter, self.size = adapter, size

    def __enter__(self):
        program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if not program:
            raise SystemExit("there is no chromium: `./x setup web` installs it")
        self.profile = tempfile.mkdtemp(prefix="drupe-web-")
        to_read, self.to_browser = os.pipe()
        self.from_browser, to_write = os.pipe()

        def hand_over():
            # The protocol's pipes are 3 and 4; out of the way first, as these may be any of the four.
            read, write = os.dup(to_read), os.dup(to_write)
            read, write = (fd if fd > 4 else os.dup(fd) for fd in (read, write))
            os.dup2(read, 3)
            os.dup2(write, 4)

        self.process = subprocess.Popen(
            [program, "--headless=new", "--no-sandbox", "--enable-unsafe-webgpu", *ADAPTERS[self.adapter], *QUIET,
             f"--user-data-dir={self.profile}", f"--window-size={self.size[0]},{self.size[1]}",
             "--remote-debugging-pipe", "about:blank"],
            preexec_fn=hand_over, pass_fds=(3, 4), start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_read)
        os.close(to_write)
        self.buffer, self.number = b"", 0
        return self

    def __exit__(self, *_):
        try:
            self.send("Browser.close")
            self.process.wait(10)
        except (OSError, RuntimeError, TimeoutError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        os.close(self.to_browser)
        os.close(self.from_browser)
        shutil.rmtree(self.profile, ignore_errors=True)

    def send(self, method, session=None, timeout=60, **parameters):
        """Calls a method of the protocol, and gives its result; events are let go."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self.to_browser, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + timeout
        while True:
            answer = self.receive(deadline, method)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def receive(self, deadline, method):
        while b"\0" not in self.buffer:
            if not select.select([self.from_browser], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"no answer from the browser to {method}")
            piece = os.read(self.from_browser, 1 << 20)
            if not piece:
                raise RuntimeError(f"the browser ended at {method}")
            self.buffer += piece
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def open(self, url):
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session, target)
        page.call("Page.enable")
        page.call("Page.navigate", url=url)
        page.wait_for("document.readyState == 'complete'")
        return page

    def result(self, url, query, timeout, screenshot=None):
        """What drupe's page at `url` has in #result, given `query`; `screenshot` is a file to write."""
        page = self.open(url + "?" + urllib.parse.urlencode(query))
        try:
            result = page.result(timeout)
            if screenshot:
                page.screenshot(screenshot)
        finally:
            page.close()
        return result


class Page:
    def __init__(self, browser, session, target):
        self.browser, self.session, self.target = browser, session, target

    def call(self, method, **parameters):
        return self.browser.send(method, session=self.session, **parameters)

    def evaluate(self, expression, timeout=60):
        """The value of a JavaScript expression, or of its promise."""
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True,
                          timeout=timeout)  # fmt: skip
        if "exceptionDetails" in found:
            details = found["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description") or details["text"])
        return found["result"].get("value")

    def wait_for(self, condition, timeout=60):
        deadline = time.monotonic() + timeout
        while not self.evaluate(f"Boolean({condition})"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"after {timeout} s not yet: {condition}")
            time.sleep(0.05)

    def screenshot(self, path):
        self.call("Page.bringToFront")
        png = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(png))

    def result(self, timeout=60):
        """What drupe's page has left in #result."""
        self.wait_for("document.getElementById('result')?.dataset.done", timeout)
        return json.loads(self.evaluate("document.getElementById('result').textContent"))

    def close(self):
        self.browser.send("Target.closeTarget", targetId=self.target)
