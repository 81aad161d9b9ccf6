// tests/conformance/peer_main.cpp: the other process of the conformance suite: one end of a channel, told what to do.
//
//   bus_conformance_peer listen ADDRESS      says: listening ADDRESS
//   bus_conformance_peer connect ADDRESS     says: connected, or: failed CODE TEXT
//
// Then a command a line on stdin, and an answer a line on stdout:
//   accept                            accepted                     takes the next channel; the old one is closed
//   send STREAM FIRST COUNT SIZE      sent N CODE                  checked messages (payload.hpp); SIZE may be "mixed"
//   receive STREAM FIRST COUNT        received N damaged D CODE    "receive" alone is said when it starts to wait
//   echo COUNT                        echoed N CODE
//   close                             closed CODE accepted A received R dropped D books 0|1
// COUNT may be "all": until an error. CODE is 0, or the name of a bus::Errc, or errno-N. The end of stdin ends it.
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>

#include "bus/core/channel.hpp"
#include "bus/core/listener.hpp"
#include "tests/conformance/code_names.hpp"
#include "tests/support/payload.hpp"

namespace {

using namespace bus::test;

void say(const std::string& line) {
  std::cout << line << '\n';
  std::cout.flush();
}

std::uint64_t number(const std::string& text) { return text == "all" ? ~std::uint64_t{0} : std::stoull(text); }

void send(bus::Channel& channel, std::istream& words) {
  std::string stream, first, count, size;
  words >> stream >> first >> count >> size;
  const Payloads payloads(number(stream));
  const std::uint64_t begin = number(first);
  std::error_code error;
  std::uint64_t done = 0;
  std::vector<std::byte> buffer;
  for (; done < number(count); ++done) {
    const std::uint64_t sequence = begin + done;
    buffer.resize(size == "mixed" ? mixed_size(sequence, true) : number(size));
    payloads.fill(buffer, sequence);
    error = channel.send(buffer);
    if (error) break;
  }
  if (!error) error = channel.flush();
  say("sent " + std::to_string(done) + " " + code_name(error));
}

void receive(bus::Channel& channel, std::istream& words) {
  std::string stream, first, count;
  words >> stream >> first >> count;
  const Payloads payloads(number(stream));
  const bool gaps = !channel.traits().reliable;
  std::uint64_t next = number(first), done = 0, damaged = 0;
  std::error_code error;
  say("receive");
  for (; done < number(count); ++done, ++next) {
    const auto message = channel.receive();
    if (!message) {
      error = message.error();
      break;
    }
    if (gaps) {
      const auto claimed = Payloads::sequence_of(message->bytes());
      if (!claimed || *claimed < next) ++damaged;
      next = claimed.value_or(next);
    }
    if (!payloads.matches(message->bytes(), next)) ++damaged;
  }
  say("received " + std::to_string(done) + " damaged " + std::to_string(damaged) + " " + code_name(error));
}

void echo(bus::Channel& channel, std::istream& words) {
  std::string count;
  words >> count;
  std::error_code error;
  std::uint64_t done = 0;
  say("echo");
  for (; done < number(count); ++done) {
    const auto message = channel.receive();
    error = message ? channel.send(message->bytes()) : message.error();
    if (error) break;
  }
  if (!error) error = channel.flush();
  say("echoed " + std::to_string(done) + " " + code_name(error));
}

void close(bus::Channel& channel) {
  const std::error_code error = channel.close(bus::in(std::chrono::seconds(20)));
  const bus::Books books = channel.books();
  say("closed " + code_name(error) + " accepted " + std::to_string(books.accepted) + " received " +
      std::to_string(books.received) + " dropped " + std::to_string(bus::total(books.dropped)) + " books " +
      (books.closed() ? "1" : "0"));
}

}  // namespace

int main(int argc, char* argv[]) {
  if (argc != 3) {
    std::cerr << "usage: bus_conformance_peer listen|connect ADDRESS\n";
    return 2;
  }
  const std::string role = argv[1];
  bus::Listener listener;
  bus::Channel channel;
  try {
    if (role == "listen") {
      listener = bus::listen(argv[2]);
      say("listening " + std::string(listener.address()));
    } else {
      channel = bus::connect(argv[2], bus::in(std::chrono::seconds(20)));
      say("connected");
    }
  } catch (const bus::Error& error) {
    say("failed " + code_name(error.code()) + " " + error.what());
    return 1;
  }
  std::string line;
  while (std::getline(std::cin, line)) {
    std::istringstream words(line);
    std::string verb;
    words >> verb;
    if (verb == "accept") {
      auto accepted = listener.accept();
      if (accepted) channel = std::move(*accepted);
      say(accepted ? "accepted" : "accept-failed " + code_name(accepted.error()));
    } else if (verb == "send") {
      send(channel, words);
    } else if (verb == "receive") {
      receive(channel, words);
    } else if (verb == "echo") {
      echo(channel, words);
    } else if (verb == "close") {
      close(channel);
    } else {
      say("unknown command: " + line);
      return 2;
    }
  }
  return 0;
}
