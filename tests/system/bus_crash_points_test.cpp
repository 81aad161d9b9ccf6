// tests/system/bus_crash_points_test.cpp: a process of a bus dies at its first fault point, the next one like it at its
// second, at its third, ... until one does all its work without reaching the next: every place at which its death could
// matter, one after the other. What was to be delivered is delivered each time, and the auditor closes the books over
// all of them. Only in builds with BUS_FAULT_POINTS.
#include <algorithm>
#include <functional>
#include <list>
#include <optional>

#include "tests/system/bus_line.hpp"

namespace bus::test {
namespace {

constexpr auto kRound = 60s;  // a round that takes so long hangs; it takes a fraction of a second

/// Starts a program of the bus that dies at its n-th fault point.
Polite start_to_die(unsigned long n, std::vector<std::string> words) {
  ProcessOptions options;
  options.env["CRASH_AT"] = std::to_string(n);
  return Polite(start_bus(std::move(words), std::move(options)));
}

/// The one that dies, round after round.
class Victim {
 public:
  using Start = std::function<Polite(unsigned long point)>;
  /// `done`: it has done its work, and is told to end if it does not do so by itself: with that code.
  Victim(Start start, std::function<bool(const Process&)> done, int code)
      : start_(std::move(start)), done_(std::move(done)), code_(code), process_(start_(point_)) {}

  /// True: it has died, and the next one has been started.
  bool look() {
    INFO("point " << point_ << "\n" << process_.err());
    if (!process_.ended()) {
      REQUIRE(Clock::now() < until_);
      if (!told_ && done_(process_)) told_ = process_.kill(SIGTERM);
      return false;
    }
    const ExitStatus status = process_.wait();
    if (status == exited(code_)) {
      survived_ = true;
      return false;
    }
    REQUIRE(status == ExitStatus{-1, SIGKILL});
    process_ = start_(++point_);
    told_ = false;
    until_ = in(kRound);
    return true;
  }
  [[nodiscard]] const Process& process() const noexcept { return process_; }
  [[nodiscard]] bool survived() const noexcept { return survived_; }
  [[nodiscard]] unsigned long points() const noexcept { return point_ - 1; }

 private:
  Start start_;
  std::function<bool(const Process&)> done_;
  int code_;
  unsigned long point_ = 1;
  Polite process_;
  bool told_ = false, survived_ = false;
  Deadline until_ = in(kRound);
};

/// All at once, until the last one of each has survived.
template <class Buses>
void run_rounds(Buses& buses) {
  const auto is_over = [](const auto& one) { return one.victim->survived(); };
  const auto all_are_over = [&] {
    for (auto& one : buses) {
      if (!is_over(one)) one.look();
    }
    return std::all_of(buses.begin(), buses.end(), is_over);
  };
  REQUIRE(eventually(all_are_over, forever));  // look() has a deadline for each round
}

void say(const std::string& scheme, const Victim& victim, const std::string& of, const Json& sum) {
  REQUIRE(victim.points() > 10);  // they are there
  std::cout << scheme << ": " << victim.points() << " points at which " << of << " was killed; " << in_short(sum)
            << "\n";
}

}  // namespace

TEST_CASE("wherever a broker is killed, the next one delivers what was to be delivered", "[system][crash]") {
  const bool hosted = GENERATE(false, true);  // by a node, not by `bus broker`
  struct Bus : Line {
    Bus(const std::string& its_scheme, bool is_hosted) : Line(its_scheme), publisher(start_publisher()) {
      REQUIRE(broker.kill(SIGKILL));
      REQUIRE(broker.wait() == ExitStatus{-1, SIGKILL});
      victim.emplace(
          [this, is_hosted](unsigned long point) {
            if (is_hosted) return start_to_die(point, {"sub", "nothing", "--bus", bus});
            return start_to_die(point, {"broker", "--listen", bus});
          },
          // It has said that it is there, and whoever had lost a broker has been served.
          [this](const Process& process) { return process.err().ends_with('\n') && publisher.ended(); }, 143);
    }
    /// Ends when its message is settled, by whichever broker.
    Polite start_publisher() {
      const std::string record = folder + "/publisher" + std::to_string(++published);
      return Polite(start_bus(
          node_words("pub", "a", bus, {"--level", "delivered", "--count", "1", "--linger", "1h", "--record", record})));
    }
    void look() {
      if (!victim->look() || !publisher.ended()) return;
      settle();
      publisher = start_publisher();
    }
    void settle() {
      INFO(publisher.err());
      REQUIRE(publisher.wait() == exited(0));
    }
    Polite publisher;
    std::optional<Victim> victim;
  };
  std::list<Bus> all;
  for (const char* const scheme : kSchemes) {
    if (!hosted || std::string_view(scheme) != "tcp") all.emplace_back(scheme, hosted);
  }
  run_rounds(all);
  for (Bus& one : all) {
    one.broker = broker_on(one.bus);
    one.settle();
    say(one.scheme, *one.victim, hosted ? "a node that hosts the broker" : "a broker", one.close());
  }
}

TEST_CASE("wherever a subscriber is killed, its group gets what was to be delivered", "[system][crash]") {
  struct Bus : Line {
    explicit Bus(const std::string& its_scheme) : Line(its_scheme, {"--queue", "workers"}) {
      victim.emplace(
          [this](unsigned long point) {
            const std::string record = folder + "/victim" + std::to_string(point);
            return start_to_die(point, node_words("sub", "a", bus, {"--queue", "workers", "--record", record}));
          },
          [](const Process& member) { return lines_in(member.out()) >= 1; }, 143);
    }
    void look() {
      if (victim->look()) has_some = false;
      if (has_some || victim->process().err().find("subscribed to ") == std::string::npos) return;
      publish(2);  // they take turns: one for the victim
      has_some = true;
    }
    std::optional<Victim> victim;
    bool has_some = false;
  };
  std::list<Bus> all;
  for (const char* const scheme : kSchemes) all.emplace_back(scheme);
  run_rounds(all);
  for (Bus& one : all) say(one.scheme, *one.victim, "a subscriber", one.close());
}

TEST_CASE("wherever a publisher is killed, what it was told to be accepted comes", "[system][crash]") {
  struct Bus : Line {
    explicit Bus(const std::string& its_scheme) : Line(its_scheme) {
      victim.emplace(
          [this](unsigned long point) {
            const std::string record = folder + "/victim" + std::to_string(point);
            return start_to_die(
                point, node_words("pub", "a", bus,
                                  {"--level", "delivered", "--size", "100", "--count", "3", "--record", record}));
          },
          [](const Process&) { return false; }, 0);
    }
    void look() { victim->look(); }
    std::optional<Victim> victim;
  };
  std::list<Bus> all;
  for (const char* const scheme : kSchemes) all.emplace_back(scheme);
  run_rounds(all);
  for (Bus& one : all) {
    one.publish(1);
    finish_publisher(one.pub);
    end_subscriber(one.sub);
    const Json sum = audited(one.folder);
    REQUIRE(sum.at("delivered").get<std::uint64_t>() > 4);  // of the last victim, of who lived, and of who died waiting
    say(one.scheme, *one.victim, "a publisher", sum);
  }
}

}  // namespace bus::test
