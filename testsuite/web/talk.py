"""Language models in the web format, through drupe's page or its module, in a headless browser.

The packages that the page's import map names come from .deps/web instead of the network; the map's hashes are checked.
"""

import os
import tempfile

from browser import ROOT, WEB, Site

PACKAGES = os.path.join(ROOT, ".deps", "web", "node_modules", "@huggingface")
CDN = "https://cdn.jsdelivr.net/npm/@huggingface/"
# What the import map names, and the files of the packages.
MODULES = {
    "tokenizers@0.2.0/dist/tokenizers.min.mjs": "tokenizers/dist/tokenizers.min.mjs",
    "jinja@0.5.11/dist/index.js": "jinja/dist/index.js",
}


class TalkSite(Site):
    """A model's folder, and the page with its packages beside it."""

    def __init__(self, folder):
        with open(os.path.join(WEB, "index.html")) as file:
            page = file.read()
        for address in MODULES:
            assert CDN + address in page, address
        self.page = tempfile.NamedTemporaryFile("w", suffix=".html", delete=False)
        self.page.write(page.replace(CDN, "./packages/"))
        self.page.close()
        files = {f"packages/{address}": os.path.join(PACKAGES, path) for address, path in MODULES.items()}
        super().__init__([folder, WEB], {"index.html": self.page.name, **files})

    def __exit__(self, *arguments):
        super().__exit__(*arguments)
        os.unlink(self.page.name)


def talk(browser, folder, prompt, timeout=600, screenshot=None, **query):
    """What the page has in #result after it was given `prompt`."""
    with TalkSite(folder) as site:
        return browser.result(site.url, {"autorun": 1, "prompt": prompt, **query}, timeout, screenshot)
