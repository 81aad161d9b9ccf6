#!/usr/bin/env python3
"""tests/tidy.py BUILD_DIR [-j N]: runs clang-tidy on the sources of library and tools.

A build that joins sources (CMAKE_UNITY_BUILD) is checked in a third of the time: headers are read once a unit. A unit
whose outcome was clean is not read again until its own bytes, those of a file that it includes, its compile command,
.clang-tidy or clang-tidy itself changes. Needs a finished Ninja build: that knows which files each unit includes. The
memory of clean units is BUILD_DIR/tidy/.
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

TIDY = "clang-tidy-14"
# The static analyser follows fewer calls into each other than it would: half of its time, and the same findings here.
SHALLOW = ["--extra-arg=-Xclang", "--extra-arg=-analyzer-config", "--extra-arg=-Xclang", "--extra-arg=mode=shallow"]
ROOT = pathlib.Path(__file__).resolve().parent.parent
CHECKED = ("bus", "transports", "tools")


def sources(build):
    """The compile command of each unit of checked sources: one of ours, or what a build has joined from several."""
    commands = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        path = pathlib.Path(entry["file"]).resolve()
        if any(is_checked(source) for source in sources_of(path)):
            commands.setdefault(path, entry)
    return commands


def is_checked(path):
    return path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in CHECKED


def sources_of(unit):
    """What a unit of CMAKE_UNITY_BUILD includes; else the file itself."""
    if unit.parent.name != "Unity":
        return [unit]
    return [pathlib.Path(name) for name in re.findall(r'^#include "(.*)"$', unit.read_text(), re.MULTILINE)]


def dependencies(build):
    """What each object was made from, as the build has recorded it: {object: [paths]}."""
    text = subprocess.run(["ninja", "-C", build, "-t", "deps"], capture_output=True, text=True, check=True).stdout
    found, current = {}, None
    for line in text.splitlines():
        if line.startswith("    ") and current is not None:
            current.append(line.strip())
        elif match := re.match(r"(\S+): #deps \d+, .*\(VALID\)$", line):
            current = found.setdefault(match.group(1), [])
        else:
            current = None
    return found


class Fingerprint:
    """Says in one number everything that the outcome of a check depends on."""

    def __init__(self, build):
        self.build = build
        self.common = (ROOT / ".clang-tidy").read_bytes() + " ".join(SHALLOW).encode() + subprocess.check_output([TIDY, "--version"])
        self.dependencies = dependencies(build)
        self.files = {}

    def of_file(self, name):
        if name not in self.files:
            path = (self.build / name).resolve()
            if path.is_relative_to(ROOT):
                self.files[name] = hashlib.sha256(path.read_bytes()).hexdigest()
            else:  # a system header: its package writes both
                stat = path.stat()
                self.files[name] = f"{stat.st_size} {stat.st_mtime_ns}"
        return self.files[name]

    def of(self, entry):
        """None when the build does not know what the file includes."""
        words = shlex.split(entry["command"])
        names = self.dependencies.get(words[words.index("-o") + 1]) if "-o" in words else None
        if not names:
            return None
        total = hashlib.sha256(self.common)
        total.update(entry["command"].encode())
        for name in sorted(names):
            total.update(f"{name} {self.of_file(name)}\n".encode())
        return total.hexdigest()


def check(build, path, mark):
    """The findings in one file, empty if there are none: that is remembered at once, in `mark`."""
    run = subprocess.run(
        [TIDY, "--quiet", "-p", build, "--extra-arg=-Wno-unknown-warning-option", *SHALLOW, path], capture_output=True, text=True
    )
    if run.returncode != 0:
        return run.stdout + run.stderr
    if mark is not None:
        mark.touch()
    return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("-j", type=int, default=len(os.sched_getaffinity(0)), metavar="N", help="files at a time")
    arguments = parser.parse_args()
    build = arguments.build.resolve()

    entries = sources(build)
    if not entries:
        sys.exit(f"tidy: {build}/compile_commands.json names no source of {', '.join(CHECKED)}")
    memory = build / "tidy"
    memory.mkdir(exist_ok=True)
    fingerprint = Fingerprint(build)
    marks = {}
    for path, entry in entries.items():
        number = fingerprint.of(entry)
        marks[path] = memory / number if number is not None else None
    todo = sorted(path for path, mark in marks.items() if mark is None or not mark.exists())

    bad = 0
    with concurrent.futures.ThreadPoolExecutor(arguments.j) as pool:
        for findings in pool.map(lambda path: check(build, path, marks[path]), todo):
            if findings:
                bad += 1
                print(findings.rstrip(), flush=True)

    for mark in set(memory.iterdir()) - set(marks.values()):  # what no file has any more
        mark.unlink()
    files = sum(len(sources_of(path)) for path in entries)
    print(f"tidy: {files} files in {len(entries)} units, {len(entries) - len(todo)} units unchanged since they were clean, {bad} with findings")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
