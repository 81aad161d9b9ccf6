"""tests/readme/tour.py README BIN_DIR: the commands of "Five minutes" and of "The bus" work as they stand there, typed one
after the other, and print what stands there, numbers, pids and the blanks of tables aside.

A block that is followed by another one at once is a terminal of its own: its command goes on while those of the next blocks
are typed. Ports are exchanged for free ones.
"""
import os
import re
import signal
import socket
import subprocess
import sys
import time

DEADLINE = 60  # seconds; only a failure waits so long
SECTIONS = ("Five minutes", "The bus: subjects, brokers, closed books")
READY = re.compile(r"listening on|subscribed to|answering ")  # what a terminal of its own says when it can be used
NODE = re.compile(r"\b[0-9a-f]{16}\b")  # what a node is called in records
NUMBER = re.compile(r"\b\d+(\.\d+)?(e\+\d+)?( ?(?:[kMGT]|[KMGT]iB|B|ns|us|ms|s)\b)?")


def fail(text):
    sys.exit("readme: the tour: " + text)


def blocks(readme):
    """Of each console block: whether another one follows at once, and its commands with the lines that they print."""
    text = "".join(re.search(rf"^## {section}$(.*?)^## ", readme, re.M | re.S).group(1) for section in SECTIONS)
    for match in re.finditer(r"^```console\n(.*?)^```\n(?=(```console)?)", text, re.M | re.S):
        commands = []
        for line in match.group(1).splitlines():
            if line.startswith("$ "):
                commands.append((line[2:], []))
            else:
                commands[-1][1].append(line)
        yield match.group(2) is not None, commands


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def plain(line):
    return re.sub(r"\s+", " ", NUMBER.sub("N", NODE.sub("N", line))).strip()


def same(said, shown):
    return [plain(line) for line in said] == [plain(line) for line in shown]


def compare(command, said, shown):
    if not same(said, shown):
        fail(f"$ {command}\nprints\n  " + "\n  ".join(said) + "\ninstead of\n  " + "\n  ".join(shown))


class Terminal:
    """One whose command goes on while others are typed."""

    def __init__(self, name, command, shown):
        self.name, self.command, self.shown = name, command, shown
        self.file = open(name, "w+")
        self.process = subprocess.Popen(["bash", "-c", command], stdin=subprocess.DEVNULL, stdout=self.file,
                                        stderr=self.file, start_new_session=True)
        ready = sum(READY.search(line) is not None for line in shown)
        try:
            self.wait_for(lambda said: sum(READY.search(line) is not None for line in said) >= ready, "is not ready")
        except SystemExit:
            self.interrupt()
            raise

    def said(self):
        with open(self.name) as file:
            return file.read().splitlines()

    def wait_for(self, enough, otherwise):
        end = time.monotonic() + DEADLINE
        over = False
        while not enough(self.said()):
            if over or time.monotonic() > end:
                fail(f"$ {self.command}\n{otherwise}:\n  " + "\n  ".join(self.said()))
            over = self.process.poll() is not None  # and one more look at what it said
            time.sleep(0.01)

    def end(self):
        before = self.shown.index("^C") if "^C" in self.shown else len(self.shown)
        self.wait_for(lambda said: len(said) >= before, "does not say all that is shown")
        said = self.said()
        compare(self.command, said[:before], self.shown[:before])
        self.interrupt()
        if before < len(self.shown):
            compare(self.command, self.said()[before:], self.shown[before + 1:])

    def interrupt(self):
        try:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGINT)
            self.process.wait(DEADLINE)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)


def run(command, shown):
    done = subprocess.run(["bash", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=DEADLINE)
    said = done.stdout.splitlines()
    if shown == ["Killed"]:  # which an interactive shell would say
        said, shown = [line for line in said if "Killed" not in line], []
        if done.returncode not in (137, -signal.SIGKILL):
            fail(f"$ {command}\nends with {done.returncode} instead of being killed")
    compare(command, said, shown)


def main():
    with open(sys.argv[1]) as file:
        readme = file.read()
    os.environ["PATH"] = os.path.abspath(sys.argv[2]) + ":" + os.environ["PATH"]
    os.environ["LC_ALL"] = "C"
    readme = readme.replace("127.0.0.1:7000", f"127.0.0.1:{free_port()}")
    other = free_port()
    readme = readme.replace("127.0.0.1:7001", f"127.0.0.1:{other}").replace("127.0.0.1 7001", f"127.0.0.1 {other}")
    readme = readme.replace("127.0.0.1:7002", f"127.0.0.1:{free_port()}")
    terminals = []
    shown = 0
    try:
        for another_follows, commands in blocks(readme):
            if another_follows:
                terminals.append(Terminal(f"terminal{len(terminals)}", *commands[0]))
                continue
            for command, output in commands:
                run(command, output)
                shown += 1
            while terminals:  # the last one first: what was started before may serve it
                terminals[-1].end()
                terminals.pop()
                shown += 1
    finally:
        while terminals:
            terminals.pop().interrupt()
    if shown < 25:
        fail(f"only {shown} commands were found")


main()
