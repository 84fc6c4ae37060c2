"""Downloads a package's source archive, pinned by version, and unpacks it; builds nothing."""

import argparse
import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package")
    parser.add_argument("version")
    parser.add_argument("folder", type=pathlib.Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        report = pathlib.Path(scratch, "report.json")
        # A dry run with a report names the archive that pip would take, wherever it is configured to look.
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--dry-run", "--no-deps",
             "--ignore-installed", "--no-binary", args.package, "--report", str(report),
             f"{args.package}=={args.version}"],
            check=True,
        )
        url = json.loads(report.read_text())["install"][0]["download_info"]["url"]
        archive = pathlib.Path(scratch, "source.tar.gz")
        subprocess.run(["curl", "-fsSL", "-o", str(archive), url], check=True)
        with tarfile.open(archive) as tar:
            for member in tar.getmembers():
                # The archive's one folder is left out.
                _, _, member.name = member.name.partition("/")
                if member.name:
                    tar.extract(member, args.folder, filter="data")


if __name__ == "__main__":
    main()
