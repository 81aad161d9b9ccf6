#!/usr/bin/env python3
"""tools/measure/broker_load.py [--bus PROGRAM] [--scheme shm|unix|tcp] [PART...]: what a broker bears.

Real processes around one `bus broker`, 64 bytes a message, every message counted at its receivers:
  fan-out    one publisher to 1, 10 and 100 subscribers: deliveries a second
  clients    1,000 connected subscribers: round trips beside them, the broker's CPU while nothing happens, its memory
  stopped    one of eight consumers is stopped: what the other seven get, how long a question takes, and the broker's
             memory, beside what it is when the eighth runs
  load       60 s of messages as fast as they go: the broker's memory
  audit      10 million messages from producers to consumers on shm, unix and tcp at once, all recorded; bus audit
             closes the books. Takes some GB below --directory.
All but the last without names: `broker_load.py` runs the first four. Ends with 1 if a message is missing.
"""
import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time

TICK = os.sysconf("SC_CLK_TCK")


class Load:
    def __init__(self, program, directory):
        self.program = program
        self.directory = directory
        self.processes = []
        # Sockets have short names, and nobody else's bus is touched.
        self.environment = dict(os.environ, XDG_RUNTIME_DIR=directory)

    def start(self, *words, output=subprocess.DEVNULL):
        process = subprocess.Popen([self.program, *words], stdout=output, stderr=subprocess.PIPE, text=True,
                                   env=self.environment)
        self.processes.append(process)
        return process

    def wait_for(self, process, mark, within=60):
        """The line of its stderr that has `mark` in it."""
        end = time.monotonic() + within
        while time.monotonic() < end:
            line = process.stderr.readline()
            if mark in line:
                return line
            if line == "" and process.poll() is not None:
                break
        sys.exit(f"broker_load: {' '.join(process.args)} did not say '{mark}'")

    def broker(self, *addresses):
        words = ["broker", "--max-clients", "1100"]
        for address in addresses:
            words += ["--listen", address]
        process = self.start(*words)
        return process, [self.wait_for(process, "listening on ").split("listening on ")[1].split()[0]
                         for _ in addresses]

    def summary(self, process, within=900):
        """The last line of --json."""
        out, err = process.communicate(timeout=within)
        if process.returncode != 0:
            sys.exit(f"broker_load: {' '.join(process.args)} ended with {process.returncode}: {err}")
        return json.loads(out.splitlines()[-1])

    def stop(self):
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stderr.close()
        self.processes = []


def subscribers(load, bus, count, *words):
    made = [load.start("sub", "--bus", bus, "load", *words, output=subprocess.PIPE) for _ in range(count)]
    for process in made:
        load.wait_for(process, "subscribed to")
    return made


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory_kib(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def shared_memory_kib():
    """Of the whole machine. A ring is mapped twice in each of its processes, so what these say counts it four times."""
    with open("/proc/meminfo") as meminfo:
        return next(int(line.split()[1]) for line in meminfo if line.startswith("Shmem:"))


def publish(load, bus, count, *words):
    process = load.start("pub", "--bus", bus, "load", "--size", "64", "--count", str(count), "--json", *words,
                         output=subprocess.PIPE)
    return load.summary(process)


def address_of(scheme):
    return "tcp://127.0.0.1:0" if scheme == "tcp" else f"{scheme}://load"


def fan_out(load, scheme):
    for count, messages in ((1, 10_000_000), (10, 1_000_000), (100, 100_000)):
        _, (bus,) = load.broker(address_of(scheme))
        receivers = subscribers(load, bus, count, "--count", str(messages), "--format", "none", "--json")
        begin = time.monotonic()
        publish(load, bus, messages, "--wait-subs", str(count))
        received = sum(load.summary(process)["received"] for process in receivers)
        took = time.monotonic() - begin
        if received != count * messages:
            sys.exit(f"broker_load: {received} of {count * messages} came")
        print(f"fan-out over {scheme} to {count:3}: {messages / took / 1e3:8.0f} k messages/s, "
              f"{received / took / 1e6:6.2f} M deliveries/s, {took:5.1f} s with the processes' start and end", flush=True)
        load.stop()


def round_trips(load, bus):
    asked = load.start("request", "--bus", bus, "echo", "x", "--count", "20000", "--interval", "0", "--json",
                       output=subprocess.PIPE)
    return load.summary(asked)["rtt_ns"]


def in_words(rtt):
    return f"p50 {rtt['p50'] / 1e3:.1f} us, p99 {rtt['p99'] / 1e3:.1f} us"


def clients(load, scheme):
    broker, (bus,) = load.broker(address_of(scheme))
    replying = load.start("reply", "--bus", bus, "echo", "--echo")
    load.wait_for(replying, "answering")
    before = memory_kib(broker.pid) if scheme != "shm" else shared_memory_kib()
    print(f"request and reply over {scheme}, nobody else there: {in_words(round_trips(load, bus))}", flush=True)
    begin = time.monotonic()
    everybody = subscribers(load, bus, 1000, "--count", "10", "--format", "none", "--json")
    took = time.monotonic() - begin
    after = memory_kib(broker.pid) if scheme != "shm" else shared_memory_kib()
    what = "their channels take" if scheme == "shm" else "the broker grew by"
    print(f"1,000 subscribers there after {took:.1f} s; {what} {(after - before) / 1024:.0f} MiB", flush=True)
    used = cpu_seconds(broker.pid)
    time.sleep(10)  # the length is what is measured
    used = cpu_seconds(broker.pid) - used
    print(f"nothing happens for 10 s: the broker used {used * 1000:.0f} ms of CPU", flush=True)
    print(f"request and reply beside them: {in_words(round_trips(load, bus))}", flush=True)
    begin = time.monotonic()
    publish(load, bus, 10, "--wait-subs", "1000")
    received = sum(load.summary(process)["received"] for process in everybody)
    if received != 10_000:
        sys.exit(f"broker_load: {received} of 10,000 came")
    print(f"10 messages to all of them: 10,000 came, {time.monotonic() - begin:.1f} s with the processes' end", flush=True)
    load.stop()


def eight(load, scheme, eighth_one, *words):
    """A bus, seven subscribers that block, and the process of an eighth that drops, which runs or is stopped."""
    broker, (bus,) = load.broker(address_of(scheme))
    seven = subscribers(load, bus, 7, *words, "--format", "none", "--json")
    eighth, = subscribers(load, bus, 1, "--full", "drop-new", "--depth", "512", "--format", "none")
    if eighth_one == "is stopped":
        eighth.send_signal(signal.SIGSTOP)
    return broker, bus, seven, eighth


def stopped(load, scheme):
    messages = 400_000
    cases = ("runs", "is stopped")
    seconds, p99, memory = ({case: [] for case in cases} for _ in range(3))
    for case in cases * 5:
        broker, bus, seven, eighth = eight(load, scheme, case, "--count", str(messages))
        begin = time.monotonic()
        publish(load, bus, messages, "--wait-subs", "8")
        received = sum(load.summary(process)["received"] for process in seven)
        seconds[case].append(time.monotonic() - begin)
        memory[case].append(memory_kib(broker.pid))
        if received != 7 * messages:
            sys.exit(f"broker_load: {received} of {7 * messages} came")
        eighth.send_signal(signal.SIGCONT)
        load.stop()
    for case in cases * 5:
        _, bus, _, eighth = eight(load, scheme, case)
        replying = load.start("reply", "--bus", bus, "echo", "--echo")
        load.wait_for(replying, "answering")
        publishing = load.start("pub", "--bus", bus, "load", "--size", "64", "--rate", "2k", "--wait-subs", "8")
        p99[case].append(round_trips(load, bus)["p99"])
        publishing.send_signal(signal.SIGTERM)
        eighth.send_signal(signal.SIGCONT)
        load.stop()
    rate = {case: 7 * messages / statistics.median(seconds[case]) / 1e6 for case in cases}
    trips = {case: statistics.median(p99[case]) / 1e3 for case in cases}
    print(f"seven of eight subscribers over {scheme}: {rate['runs']:.2f} M deliveries/s while the eighth runs, "
          f"{rate['is stopped']:.2f} M while it is stopped: {100 * rate['is stopped'] / rate['runs']:.0f} %\n"
          f"request and reply beside them at 2,000 messages/s: p99 {trips['runs']:.0f} us and {trips['is stopped']:.0f} us: "
          f"{trips['is stopped'] / trips['runs']:.2f}\n"
          f"the broker's memory: {max(memory['runs']) / 1024:.1f} MiB and {max(memory['is stopped']) / 1024:.1f} MiB",
          flush=True)


def steady(load, scheme):
    broker, (bus,) = load.broker(address_of(scheme))
    receiver, = subscribers(load, bus, 1, "--format", "none", "--json", "--timeout", "2s")
    publishing = load.start("pub", "--bus", bus, "load", "--size", "64", "--duration", "60s", "--json",
                            output=subprocess.PIPE)
    memory = []
    while publishing.poll() is None:
        memory.append(memory_kib(broker.pid))
        time.sleep(1)  # how often is looked
    sent = load.summary(publishing)["sent"]
    out, _ = receiver.communicate()
    received = json.loads(out.splitlines()[-1])["received"]
    third = len(memory) // 3
    print(f"60 s over {scheme}: {sent / 60e6:.2f} M messages/s; the broker's memory: {max(memory[:third]) / 1024:.1f} MiB "
          f"at most in the first third, {max(memory[-third:]) / 1024:.1f} MiB in the last", flush=True)
    if received != sent:
        sys.exit(f"broker_load: {received} of {sent} came")
    load.stop()


def audit(load, count):
    schemes = ("shm", "unix", "tcp")
    _, buses = load.broker(*(address_of(scheme) for scheme in schemes))
    each = -(-count // len(schemes))  # not fewer
    files, receivers, publishers = [], [], []
    record = lambda name: files.append(os.path.join(load.directory, name + ".jsonl")) or files[-1]
    for scheme, bus in zip(schemes, buses):
        receivers.append(load.start("sub", "--bus", bus, "load", "--count", str(each * len(schemes)), "--format", "none",
                                    "--json", "--record", record("sub-" + scheme), output=subprocess.PIPE))
        load.wait_for(receivers[-1], "subscribed to")
    begin = time.monotonic()
    for scheme, bus in zip(schemes, buses):
        publishers.append(load.start("pub", "--bus", bus, "load", "--size", "64", "--count", str(each), "--wait-subs", "3",
                                     "--json", "--record", record("pub-" + scheme), output=subprocess.PIPE))
    for process in publishers + receivers:
        load.summary(process)
    took = time.monotonic() - begin
    size = sum(os.path.getsize(file) for file in files)
    print(f"{each * len(schemes)} messages from shm, unix and tcp to a subscriber on each: {took:.0f} s, "
          f"{size / 2**30:.1f} GiB of records", flush=True)
    begin = time.monotonic()
    audited = subprocess.run([load.program, "audit", *files], env=load.environment, text=True, capture_output=True)
    print(audited.stdout + audited.stderr + f"bus audit: {time.monotonic() - begin:.0f} s, exit {audited.returncode}")
    load.stop()
    if audited.returncode != 0:
        sys.exit(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bus", default="build/release/bin/bus")
    parser.add_argument("--scheme", default="shm", choices=("shm", "unix", "tcp"))
    parser.add_argument("--directory", default=None, help="for sockets and records; the default is one below /tmp")
    parser.add_argument("--count", type=int, default=9_999_999, help="messages to audit")
    parser.add_argument("parts", nargs="*", metavar="PART")
    arguments = parser.parse_args()
    if not os.access(arguments.bus, os.X_OK):
        sys.exit(f"broker_load: no program at {arguments.bus}; build it, or name it with --bus")
    scheme = arguments.scheme
    parts = {"fan-out": lambda load: fan_out(load, scheme), "clients": lambda load: clients(load, scheme),
             "stopped": lambda load: stopped(load, scheme), "load": lambda load: steady(load, scheme),
             "audit": lambda load: audit(load, arguments.count)}
    for part in arguments.parts:
        if part not in parts:
            sys.exit(f"broker_load: no part {part}; there are {', '.join(parts)}")
    with tempfile.TemporaryDirectory(prefix="bus-load-", dir=arguments.directory) as directory:
        load = Load(os.path.abspath(arguments.bus), directory)
        try:
            for part in arguments.parts or ("fan-out", "clients", "stopped", "load"):
                parts[part](load)
        finally:
            load.stop()


main()
