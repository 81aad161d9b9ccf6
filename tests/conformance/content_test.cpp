// tests/conformance/content_test.cpp: what is sent arrives: whole, unchanged, in order, in both directions at once.

#include "tests/support/catch.hpp"
#include "tests/support/channel_pair.hpp"
#include "tests/support/traffic.hpp"

using namespace bus::test;

TEST_CASE("messages of every size arrive whole and unchanged", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme, "max_message=16MiB");
  const Payloads payloads;
  const bool reliable = pair.client.traits().reliable;
  for (const std::size_t size : kSizes) {
    CAPTURE(size);
    InThread sending([&] { return pair.client.send(payloads.make(size, size), soon()); });
    const bus::Result<bus::Message> message = pair.server.receive(soon());
    REQUIRE_FALSE(sending.get());
    if (!message && !reliable) continue;  // the books at the end say what became of it
    REQUIRE(message);
    REQUIRE(message->size() == size);
    REQUIRE(payloads.matches(message->bytes(), size));
  }
  close_books(pair);
}

TEST_CASE("neighbouring messages keep their boundaries", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme, "max_message=4KiB");
  REQUIRE(pair.client.traits().keeps_boundaries);
  const std::vector<std::string> sent{"a", "", "", "bc", std::string(1, '\0'), "d"};
  for (const std::string& text : sent) REQUIRE_FALSE(pair.client.send(bus::bytes_of(text), soon()));
  REQUIRE_FALSE(pair.client.flush(soon()));
  for (const std::string& text : sent) {
    const auto message = pair.server.receive(soon());
    REQUIRE(message);
    REQUIRE(message->text() == text);
  }
  close_books(pair);
}

TEST_CASE("a long stream arrives in order, and what is missing is counted", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  constexpr std::uint64_t kCount = 20'000;
  Pair pair = open_pair(scheme, "max_message=64KiB&capacity=64KiB");
  const bus::Traits traits = pair.client.traits();
  const Payloads payloads(7);
  InThread sending([&] {
    Stream sent = send_stream(pair.client, payloads, 0, kCount, [](std::uint64_t n) { return mixed_size(n, true); });
    pair.client.close();
    return sent;
  });
  const Stream received = receive_stream(pair.server, payloads, 0, kCount + 1, !traits.reliable);
  const Stream sent = sending.get();
  REQUIRE(sent.end == std::error_code{});
  REQUIRE(sent.count == kCount);
  REQUIRE(received.end == bus::Errc::closed);
  REQUIRE(received.damaged == 0);
  if (traits.ordered) REQUIRE(received.misplaced == 0);
  if (traits.reliable) REQUIRE(received.count == kCount);
  const bus::Books books = pair.server.books();
  INFO(to_text(books));
  if (traits.exchanges_books) {
    REQUIRE(books.peer_accepted == kCount);
    REQUIRE(books.received + bus::total(books.dropped) == kCount);
  }
  close_books(pair);
}

TEST_CASE("both ends send and receive at once", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  constexpr std::uint64_t kCount = 5'000;
  Pair pair = open_pair(scheme, "max_message=64KiB&capacity=16KiB");
  const bus::Traits traits = pair.client.traits();
  const auto size_of = [](std::uint64_t n) { return mixed_size(n, true); };
  const Payloads up(1), down(2);
  // An unreliable channel may lose the last message, too: its receiver gives up when nothing comes any more.
  const auto patience = [&] { return traits.reliable ? soon() : bus::in(std::chrono::seconds(5)); };
  InThread client_sends([&] { return send_stream(pair.client, up, 0, kCount, size_of); });
  InThread server_sends([&] { return send_stream(pair.server, down, 0, kCount, size_of); });
  InThread client_receives([&] { return receive_stream(pair.client, down, 0, kCount, !traits.reliable, patience()); });
  const Stream at_server = receive_stream(pair.server, up, 0, kCount, !traits.reliable, patience());
  const Stream at_client = client_receives.get();
  for (const Stream& sent : {client_sends.get(), server_sends.get()}) {
    REQUIRE(sent.end == std::error_code{});
    REQUIRE(sent.count == kCount);
  }
  for (const Stream& received : {at_server, at_client}) {
    if (traits.reliable) {
      REQUIRE(received.end == std::error_code{});
      REQUIRE(received.count == kCount);
    }
    REQUIRE(received.damaged == 0);
    if (traits.ordered) REQUIRE(received.misplaced == 0);
  }
  close_books(pair);
}

TEST_CASE("every wait policy carries requests and answers", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  const std::string wait = GENERATE("spin", "hybrid", "block");
  CAPTURE(scheme, wait);
  Pair pair = open_pair(scheme, "wait=" + wait);
  const Payloads payloads;
  constexpr std::uint64_t kCount = 200;
  InThread echoing([&]() -> std::error_code {
    for (std::uint64_t n = 0; n < kCount; ++n) {
      const auto request = pair.server.receive(soon());
      if (!request) return request.error();
      if (const auto error = pair.server.send(request->bytes(), soon())) return error;
    }
    return {};
  });
  for (std::uint64_t n = 0; n < kCount; ++n) {
    REQUIRE_FALSE(pair.client.send(payloads.make(n, 64), soon()));
    const auto answer = pair.client.receive(soon());
    REQUIRE(answer);
    REQUIRE(payloads.matches(answer->bytes(), n));
  }
  REQUIRE_FALSE(echoing.get());
  close_books(pair);
}
