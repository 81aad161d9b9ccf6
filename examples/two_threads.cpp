// examples/two_threads.cpp: both ends in one process: a file goes one way, then questions go there and back.
//
//     two_threads inproc://tour FILE COPY 20000
//
// This is how inproc:// is used, which does not leave its process; any other address works, too. Prints one line of
// JSON: bytes, whether the books close, and the round trip times.
#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <exception>
#include <fstream>
#include <future>
#include <iostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "bus/core/channel.hpp"
#include "bus/core/listener.hpp"

using namespace std::chrono_literals;

namespace {

constexpr std::size_t kChunk = std::size_t{64} << 10;
constexpr std::size_t kQuestion = 64;  // bytes
constexpr auto kPatience = 10s;

void check(std::error_code error, const char* operation) {
  if (error) throw std::system_error(error, operation);
}

/// The other thread: writes messages to `copy` up to the empty one, then returns each message until the end.
void serve(bus::Listener& listener, const std::string& copy) {
  bus::Channel channel = listener.accept(bus::in(kPatience)).value();
  std::ofstream file(copy, std::ios::binary | std::ios::trunc);
  for (;;) {
    const bus::Message message = channel.receive(bus::in(kPatience)).value();
    if (message.empty()) break;
    file.write(message.text().data(), static_cast<std::streamsize>(message.size()));
  }
  file.close();
  if (!file) throw std::runtime_error("cannot write " + copy);
  for (;;) {
    const bus::Result<bus::Message> question = channel.receive(bus::in(kPatience));
    if (question.has_error())
      return check(question.error() == bus::Errc::closed ? std::error_code{} : question.error(), "echo");
    check(channel.send(question->bytes(), bus::in(kPatience)), "echo");
  }
}

/// Reads each piece of the file straight into outgoing memory. Returns the bytes sent.
std::uint64_t send_file(bus::Channel& channel, const std::string& name) {
  std::ifstream file(name, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + name);
  std::uint64_t total = 0;
  while (file.peek() != std::ifstream::traits_type::eof()) {
    bus::Loan piece = channel.loan(kChunk, bus::in(kPatience)).value();
    file.read(reinterpret_cast<char*>(piece.data()), static_cast<std::streamsize>(piece.size()));
    const auto bytes = static_cast<std::size_t>(file.gcount());
    check(piece.publish(bytes), "send");
    total += bytes;
  }
  check(channel.send({}, bus::in(kPatience)), "send");  // the end of the file
  return total;
}

std::vector<std::chrono::nanoseconds> round_trips(bus::Channel& channel, std::size_t count) {
  const std::array<std::byte, kQuestion> question{};
  std::vector<std::chrono::nanoseconds> times(count);
  for (auto& time : times) {
    const auto began = bus::Clock::now();
    check(channel.send(question, bus::in(kPatience)), "send");
    if (channel.receive(bus::in(kPatience)).value().size() != kQuestion)
      throw std::runtime_error("another message came back");
    time = bus::Clock::now() - began;
  }
  std::ranges::sort(times);
  return times;
}

}  // namespace

int main(int argc, char* argv[]) try {
  const std::vector<std::string> arguments(argv, argv + argc);
  std::size_t count = 0;
  if (argc != 5 || std::from_chars(argv[4], argv[4] + arguments[4].size(), count).ec != std::errc{} || count == 0) {
    std::cerr << "usage: two_threads ADDRESS FILE COPY ROUND-TRIPS\n";
    return 2;
  }
  bus::Listener listener = bus::listen(arguments[1]);
  auto server = std::async(std::launch::async, [&] { serve(listener, arguments[3]); });
  bus::Channel channel = bus::connect(listener.address(), bus::in(kPatience));
  const std::uint64_t bytes = send_file(channel, arguments[2]);
  const auto times = round_trips(channel, count);
  check(channel.close(bus::in(kPatience)), "close");
  server.get();
  const auto quantile = [&times](std::size_t percent) { return times[(times.size() - 1) * percent / 100].count(); };
  std::cout << R"({"address":")" << arguments[1] << R"(","bytes":)" << bytes << R"(,"lost":)"
            << bus::total(channel.books().lost) << R"(,"closed":)" << (channel.books().closed() ? "true" : "false")
            << R"(,"rtt_ns":{"p50":)" << quantile(50) << R"(,"p99":)" << quantile(99) << "}}\n";
  return channel.books().closed() ? 0 : 1;
} catch (const std::exception& error) {
  std::cerr << "two_threads: " << error.what() << '\n';
  return 1;
}
