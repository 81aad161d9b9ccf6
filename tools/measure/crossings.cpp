// tools/measure/crossings.cpp: the table of floors and peers, what they need, and the roles over each kind of end.
#include "tools/measure/crossings.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <thread>

#include "bus/core/errc.hpp"
#include "bus/core/os/local_socket.hpp"
#include "tools/measure/broker_process.hpp"
#include "tools/measure/brokers.hpp"
#include "tools/measure/ends/bus_end.hpp"
#include "tools/measure/ends/descriptor.hpp"
#include "tools/measure/ends/queue_end.hpp"
#include "tools/measure/ends/ring_end.hpp"
#include "tools/measure/ends/stream_end.hpp"
#include "tools/measure/ends/udp_end.hpp"
#include "tools/measure/run_end.hpp"
#include "tools/measure/runner.hpp"
#if defined(BUS_HAS_ZMQ)
#include "tools/measure/ends/zmq_end.hpp"
#endif
#if defined(BUS_HAS_NNG)
#include "tools/measure/ends/nng_end.hpp"
#endif

namespace bus::tools::measure {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::array<WaitMode, 3> kAll{WaitMode::spin, WaitMode::hybrid, WaitMode::block};
constexpr std::array<WaitMode, 2> kSpinOrSleep{WaitMode::spin, WaitMode::block};
constexpr std::array<WaitMode, 1> kSpins{WaitMode::spin};
constexpr std::array<WaitMode, 1> kSleeps{WaitMode::block};

constexpr auto kMeeting = 10s;

constexpr Family kFloor = Family::floor, kPeer = Family::peer;
const std::array kCrossings {
  Crossing{"line", "cache line", kFloor, true, false, false, kSpins, 8, 8, 0},
      Crossing{"ring", "ring by hand", kFloor, true, true, false, kSpins, 8, 64 * kMiB, 1},
      Crossing{"futex", "futex ring", kFloor, true, false, false, kSleeps, 8, 64 * kMiB, 1},
      Crossing{"pipe", "pipe", kFloor, true, true, false, kAll, 8, 64 * kMiB, 2},
      Crossing{"raw-unix", "raw unix", kFloor, true, true, false, kAll, 8, 64 * kMiB, 2},
      Crossing{"raw-tcp", "raw tcp", kFloor, true, true, false, kAll, 8, 64 * kMiB, 2},
      Crossing{"raw-udp", "raw udp", kFloor, true, true, false, kAll, 8, UdpEnd::kMost, 2},
      Crossing{"boost-queue", "Boost queue", kPeer, true, true, false, kSpinOrSleep, 8, 64 * kMiB, 2},
#if defined(BUS_HAS_ZMQ)
      Crossing{"zmq-ipc", "ZeroMQ ipc", kPeer, true, true, false, kSleeps, 8, 64 * kMiB, 3},
      Crossing{"zmq-tcp", "ZeroMQ tcp", kPeer, true, true, false, kSleeps, 8, 64 * kMiB, 3},
#endif
#if defined(BUS_HAS_NNG)
      Crossing{"nng-ipc", "nng ipc", kPeer, true, true, false, kSleeps, 8, 64 * kMiB, 3},
      Crossing{"nng-tcp", "nng tcp", kPeer, true, true, false, kSleeps, 8, 64 * kMiB, 3},
#endif
};

void add_both_ways(Resources& to, os::Fd near, os::Fd far) {
  to.near.push_back(std::move(near));
  to.far.push_back(std::move(far));
}

[[noreturn]] void fail(const char* what) { throw Error(last_system_error(), std::string("measure: ") + what); }

os::Fd make_socket(int type) {
  os::Fd socket(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
  if (!socket) fail("cannot make a socket");
  sockaddr_in here{};
  here.sin_family = AF_INET;
  here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&here), sizeof here) != 0)
    fail("cannot bind to 127.0.0.1");
  return socket;
}

sockaddr_in address_of(const os::Fd& socket) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) fail("cannot read a port");
  return address;
}

void connect_to(const os::Fd& socket, const sockaddr_in& to) {
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) fail("cannot connect");
}

Resources tcp_pair() {
  Resources made;
  const os::Fd listener = make_socket(SOCK_STREAM);
  if (::listen(listener.get(), 1) != 0) fail("cannot listen");
  os::Fd near = make_socket(SOCK_STREAM);
  connect_to(near, address_of(listener));
  os::Fd far(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!far) fail("cannot accept");
  for (const int fd : {near.get(), far.get()}) set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  add_both_ways(made, std::move(near), std::move(far));
  return made;
}

Resources udp_pair() {
  Resources made;
  os::Fd near = make_socket(SOCK_DGRAM), far = make_socket(SOCK_DGRAM);
  connect_to(near, address_of(far));
  connect_to(far, address_of(near));
  add_both_ways(made, std::move(near), std::move(far));
  return made;
}

Resources unix_pair() {
  Resources made;
  std::array<int, 2> fds{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()) != 0) fail("cannot make a pair of sockets");
  add_both_ways(made, os::Fd(fds[0]), os::Fd(fds[1]));
  return made;
}

Resources pipe_pair() {
  Resources made;
  std::array<int, 2> up{}, down{};
  if (::pipe2(up.data(), O_CLOEXEC) != 0) fail("cannot make a pipe");
  os::Fd up_out(up[0]), up_in(up[1]);
  if (::pipe2(down.data(), O_CLOEXEC) != 0) fail("cannot make a pipe");
  made.near.emplace_back(down[0]);
  made.near.push_back(std::move(up_in));
  made.far.push_back(std::move(up_out));
  made.far.emplace_back(down[1]);
  return made;
}

Resources shared_memory(std::size_t size) {
  Resources made;
  os::Fd memory = RingEnd::make_memory(size);
  os::Fd second(::fcntl(memory.get(), F_DUPFD_CLOEXEC, 3));
  if (!second) fail("cannot duplicate a descriptor");
  add_both_ways(made, std::move(memory), std::move(second));
  return made;
}

WaitMode wait_of(const Job& job) { return parse_wait_mode(job.wait).value_or(WaitMode::hybrid); }

/// An open loop against an echo: one thread offers, another takes the answers, which carry the times.
void run_with_answers(BusEnd& end, const Job& job, Meeting& meeting) {
  Findings offered, answered;
  Body body(job.size, kTimeHeader, job.seed), expected(job.size, kTimeHeader, job.seed);
  expected.prepare_copy();
  Work work{job, SampleClock(job.clock), meeting.await_start()};
  sleep_until_start(work.start);
  {
    std::jthread taking([&] { take_open(end, work, expected, answered); });
    offer(end, work, body, offered);
  }
  answered.histograms["send_lag"] = std::move(offered.histograms["send_lag"]);
  answered.sent = offered.sent;
  answered.offered = offered.offered;
  answered.cpu_ns = offered.cpu_ns;  // of the process, both threads
  answered.voluntary_switches = offered.voluntary_switches;
  answered.involuntary_switches = offered.involuntary_switches;
  answered.page_faults = offered.page_faults;
  if (answered.failure.empty()) answered.failure = offered.failure;
  meeting.report(std::move(answered));
}

void run_bus(const Job& job, Meeting& meeting) {
  if (job.role == Role::near) {
    BusEnd end = BusEnd::connected(meeting.await_address(), in(kMeeting));
    return job.echoes ? run_with_answers(end, job, meeting) : run_end(end, job, meeting);
  }
  Listener listener = listen(job.address);
  meeting.tell_address(std::string(listener.address()));
  BusEnd end = BusEnd::accepted(listener, job.producers, in(kMeeting));
  run_end(end, job, meeting);
}

#if defined(BUS_HAS_ZMQ)
void run_zmq(const Job& job, Meeting& meeting) {
  const bool near = job.role == Role::near;
  ZmqEnd end(near ? meeting.await_address() : job.address, near);
  if (!near) meeting.tell_address(end.address());
  run_end(end, job, meeting);
}
#endif

#if defined(BUS_HAS_NNG)
void run_nng(const Job& job, Meeting& meeting) {
  const bool near = job.role == Role::near;
  NngEnd end(near ? meeting.await_address() : job.address, near);
  if (!near) {
    std::string address = job.address;
    if (end.port() != 0) address.replace(address.rfind(':') + 1, std::string::npos, std::to_string(end.port()));
    meeting.tell_address(address);
  }
  run_end(end, job, meeting);
}
#endif

/// What the floors of all are made of: reading the clock, and copying a payload.
void run_cost(const Job& job, Meeting& meeting) {
  Findings found;
  static_cast<void>(meeting.await_address());
  const SampleClock clock(job.clock);
  Body body(job.size, 0, job.seed);
  std::vector<std::byte> to(job.size);
  sleep_until_start(meeting.await_start());
  if (job.crossing == "timer") {
    found.cost = clock.cost();
    return meeting.report(std::move(found));
  }
  // As many copies between two readings of the clock as take about 20 us.
  const std::uint64_t together = std::clamp<std::uint64_t>(200'000 / job.size, 1, 1000);
  std::vector<double> each;
  const std::uint64_t stop = clock.now() + job.timed_ns;
  while (clock.now() < stop || each.size() < 11) {
    const auto from = body.message(job.size);
    const std::uint64_t before = clock.now();
    for (std::uint64_t i = 0; i < together; ++i) {
      std::memcpy(to.data(), from.data(), from.size());
      asm volatile("" : : "r"(to.data()) : "memory");  // so that each copy is made
    }
    each.push_back(static_cast<double>(clock.now() - before) / static_cast<double>(together));
  }
  std::nth_element(each.begin(), each.begin() + static_cast<std::ptrdiff_t>(each.size() / 2), each.end());
  found.cost = each[each.size() / 2];
  meeting.report(std::move(found));
}

void run_queue(const Job& job, Meeting& meeting) {
  const bool near = job.role == Role::near;
  QueueEnd end(near ? meeting.await_address() : job.address, job.size, near, wait_of(job));
  if (!near) meeting.tell_address(job.address);
  run_end(end, job, meeting);
}

}  // namespace

std::span<const Crossing> crossings() noexcept { return kCrossings; }

const Crossing* find_crossing(std::string_view id) noexcept {
  const auto it = std::find_if(kCrossings.begin(), kCrossings.end(), [id](const Crossing& c) { return c.id == id; });
  if (it != kCrossings.end()) return &*it;
  const Broker* const broker = find_broker(id);
  return broker != nullptr && lack_of(*broker).empty() ? &broker->crossing : nullptr;
}

std::string library_of(std::string_view id) {
  if (const Broker* const broker = find_broker(id)) return versions_of(*broker);
  if (id == "boost-queue") return QueueEnd::version();
#if defined(BUS_HAS_ZMQ)
  if (id.starts_with("zmq")) return ZmqEnd::version();
#endif
#if defined(BUS_HAS_NNG)
  if (id.starts_with("nng")) return NngEnd::version();
#endif
  return {};
}

std::string peer_address(std::string_view id) {
  if (find_broker(id) != nullptr) return broker_place(id);
  if (id.ends_with("-tcp")) return id.starts_with("zmq") ? "tcp://127.0.0.1:*" : "tcp://127.0.0.1:0";
  if (id.ends_with("-ipc")) return "ipc://" + os::runtime_directory() + "/" + fresh_name();
  return fresh_name();
}

void sweep_peer(const Job& job) noexcept {
  if (find_broker(job.crossing) != nullptr) return sweep_broker(job);
  if (job.crossing == "boost-queue") QueueEnd::remove(job.address);
  constexpr std::string_view kIpc = "ipc://";
  if (job.address.starts_with(kIpc)) ::unlink(job.address.c_str() + kIpc.size());
}

std::vector<std::string> missing_peers() {
  std::vector<std::string> missing;
  if (find_crossing("zmq-ipc") == nullptr) missing.emplace_back("ZeroMQ (libzmq3-dev)");
  if (find_crossing("nng-ipc") == nullptr) missing.emplace_back("nng (libnng-dev)");
  return missing;
}

Resources make_resources(const Job& job) {
  if (job.crossing == "line" || job.crossing == "ring" || job.crossing == "futex") return shared_memory(job.size);
  if (job.crossing == "pipe") return pipe_pair();
  if (job.crossing == "raw-unix") return unix_pair();
  if (job.crossing == "raw-tcp") return tcp_pair();
  if (job.crossing == "raw-udp") return udp_pair();
  return {};
}

void run_role(const Job& job, std::span<const int> fds, Meeting& meeting) {
  const bool near = job.role == Role::near;
  const bool gather = job.load_model == LoadModel::flood;
  const WaitMode wait = wait_of(job);
  const std::string& crossing = job.crossing;
  if (crossing == "bus") return run_bus(job, meeting);
  if (is_through_broker(crossing)) return run_at_broker(job, meeting);
  if (job.load_model == LoadModel::none) return run_cost(job, meeting);
  if (crossing == "boost-queue") return run_queue(job, meeting);
#if defined(BUS_HAS_ZMQ)
  if (crossing.starts_with("zmq")) return run_zmq(job, meeting);
#endif
#if defined(BUS_HAS_NNG)
  if (crossing.starts_with("nng")) return run_nng(job, meeting);
#endif
  if (fds.empty()) throw Error(Errc::not_supported, "measure: no such crossing: " + crossing);
  if (near) static_cast<void>(meeting.await_address());
  if (!near) meeting.tell_address("");
  if (crossing == "line") {
    LineEnd end(fds[0], near);
    return run_end(end, job, meeting);
  }
  if (crossing == "ring" || crossing == "futex") {
    RingEnd end(fds[0], job.size, near, crossing == "ring" ? WaitMode::spin : WaitMode::block);
    return run_end(end, job, meeting);
  }
  if (crossing == "raw-udp") {
    UdpEnd end(fds[0], job.size, gather, near, wait);
    return run_end(end, job, meeting);
  }
  StreamEnd end(fds[0], fds.back(), job.size, gather, wait);
  run_end(end, job, meeting);
}

}  // namespace bus::tools::measure
