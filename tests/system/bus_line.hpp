// tests/system/bus_line.hpp: a bus of processes that tests on faults kill, stop and cut off, and its audit.
#pragma once

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "tests/system/bus_run.hpp"

namespace bus::test {

using namespace std::chrono_literals;
using Catch::Matchers::Contains;
using Millis = std::chrono::duration<double, std::milli>;

inline constexpr std::array<const char*, 3> kSchemes{"unix", "shm", "tcp"};

inline std::uint64_t setting(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

inline std::vector<std::string> with(std::vector<std::string> words, const std::vector<std::string>& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

/// A bus with a broker of its own, at the same place whenever it starts.
inline std::string fixed_bus(const std::string& scheme) {
  return has_port(scheme) ? fixed_address(scheme) : scheme + "://" + fresh_name();
}

inline Polite broker_on(const std::string& bus, const std::vector<std::string>& more = {}) {
  return Polite(start_bus(with({"broker", "--listen", bus}, more)));
}

/// A node that waits for the broker and hosts none.
inline std::vector<std::string> node_words(const std::string& verb, const std::string& subject, const std::string& bus,
                                           const std::vector<std::string>& more) {
  return with({verb, subject, "--bus", bus + "?embed=never", "--wait", "20s"}, more);
}

inline void wait_listening(Process& broker) { static_cast<void>(listening(broker)); }
inline void wait_subscribed(Process& sub) { sub.wait_for_error("subscribed to "); }

inline Polite sub_on(const std::string& bus, const std::string& subject, const std::vector<std::string>& more) {
  Polite sub(start_bus(node_words("sub", subject, bus, more)));
  wait_subscribed(sub);
  return sub;
}

/// A publisher whose messages are the lines that it is given.
inline Polite pub_on(const std::string& bus, const std::string& subject, const std::string& record,
                     const std::vector<std::string>& more = {}) {
  const auto words = node_words("pub", subject, bus, {"--level", "delivered", "--wait-subs", "1", "--record", record});
  ProcessOptions options;
  options.stdin_pipe = true;
  return Polite(start_bus(with(words, more), std::move(options)));
}

inline void end_subscriber(Process& sub) {
  sub.kill(SIGTERM);
  INFO(sub.err());
  REQUIRE(sub.wait() == exited(143));
}

/// Of some of what it published nobody knows more than that a broker died with it, perhaps.
inline void finish_bereaved(Process& pub) {
  pub.close_stdin();
  const ExitStatus status = pub.wait(in(60s));
  INFO(pub.err());
  REQUIRE((status == exited(0) || status == exited(5)));
}

/// All that was published has come: the publisher is told so, or it ends with another code.
inline void finish_publisher(Process& pub) {
  pub.close_stdin();
  const ExitStatus status = pub.wait(in(60s));
  INFO(pub.err());
  REQUIRE(status == exited(0));
}

/// What the auditor says of all records in a folder.
inline Json audited(const std::string& folder) {
  std::vector<std::string> words{"audit", "--json", "--margin", "1ms"};
  for (const auto& file : std::filesystem::directory_iterator(folder)) words.push_back(file.path());
  const Finished audit = run_bus(words);
  INFO(audit.err << audit.out);
  REQUIRE(audit.status == exited(0));
  return summary_of(audit.out);
}

inline std::string in_short(const Json& sum) {
  std::string text;
  for (const char* const key : {"published", "expected", "delivered", "dropped", "unknown", "in_flight", "again"}) {
    if (sum.at(key) != 0) text += (text.empty() ? "" : ", ") + std::string(key) + " " + sum.at(key).dump();
  }
  return text;
}

/// "p50 1.2 ms, p99 3.4 ms, longest 3.4 ms".
inline std::string spread(std::vector<Millis> times) {
  std::sort(times.begin(), times.end());
  const auto at = [&](double part) {
    const auto i = static_cast<std::size_t>(part * static_cast<double>(times.size()));
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%.1f ms", times[std::min(i, times.size() - 1)].count());
    return std::string(text.data());
  };
  return "p50 " + at(0.5) + ", p99 " + at(0.99) + ", longest " + at(1) + " of " + std::to_string(times.size());
}

inline Json status_of(const std::string& bus) {
  const Finished status = run_bus({"broker", "--status", "--bus", bus, "--json", "--interval", "0"});
  INFO(status.err);
  REQUIRE(status.status == exited(0));
  return objects(status.out).back();
}

/// One bus with a publisher and a subscriber that live long.
struct Line {
  explicit Line(const std::string& its_scheme, const std::vector<std::string>& of_sub = {"--format", "none"})
      : scheme(its_scheme),
        bus(fixed_bus(scheme)),
        folder(temporary_folder()),
        broker(broker_on(bus)),
        sub(sub_on(bus, "a", with(of_sub, {"--record", folder + "/sub"}))),
        pub(pub_on(bus, "a", folder + "/pub")) {}

  void publish(std::size_t lines) {
    std::string text;
    for (std::size_t i = 0; i < lines; ++i) text += scheme + " " + std::to_string(++published) + "\n";
    pub.write_stdin(text);
  }
  /// Everything came.
  Json close() {
    finish_publisher(pub);
    end_subscriber(sub);
    const Json sum = audited(folder);
    INFO(scheme << ": " << sum.dump());
    REQUIRE(sum.at("expected") == published);
    REQUIRE(sum.at("delivered") == published);
    return sum;
  }

  std::string scheme, bus, folder;
  Polite broker, sub, pub;
  std::uint64_t published = 0;
};

}  // namespace bus::test
