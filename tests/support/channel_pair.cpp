// tests/support/channel_pair.cpp: see channel_pair.hpp.
#include "tests/support/channel_pair.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <future>
#include <map>
#include <sstream>

#include "tests/support/eventually.hpp"
#include "tests/support/sandbox.hpp"

namespace bus::test {

std::vector<std::string> registered_schemes() {
  std::vector<std::string> schemes;
  const char* only = std::getenv("BUS_TEST_SCHEME");
  for (const Transport* transport : transports()) {
    if (only == nullptr || transport->scheme() == only) schemes.emplace_back(transport->scheme());
  }
  if (schemes.empty()) throw std::runtime_error("BUS_TEST_SCHEME names no transport of this build");
  return schemes;
}

std::vector<std::string> process_schemes() {
  std::vector<std::string> schemes = registered_schemes();
  std::erase_if(schemes, [](const std::string& scheme) { return !traits_of(scheme).crosses_processes; });
  return schemes;
}

bool has_port(std::string_view scheme) {
  const Address named = Address::parse(std::string(scheme) + "://a-name");
  try {
    find_transport(named).check(named);
    return false;
  } catch (const Error&) {
    return true;  // a bare name does not do
  }
}

std::string with_options(std::string address, std::string_view options) {
  if (!options.empty()) address.append(address.find('?') == std::string::npos ? "?" : "&").append(options);
  return address;
}

std::string fresh_address(std::string_view scheme, std::string_view options) {
  const std::string place = has_port(scheme) ? "127.0.0.1:0" : fresh_name();
  return with_options(std::string(scheme) + "://" + place, options);
}

std::string fixed_address(std::string_view scheme, std::string_view options) {
  Listener listener = listen(fresh_address(scheme, options));
  return std::string(listener.address());
}

void open_more(Listener& listener, Channel& client, Channel& server) {
  auto connecting =
      std::async(std::launch::async, [address = std::string(listener.address())] { return connect(address, soon()); });
  Result<Channel> accepted = listener.accept(soon());
  client = connecting.get();
  server = std::move(accepted).value();
}

Pair open_pair(std::string_view scheme, std::string_view options) {
  Pair pair{listen(fresh_address(scheme, options)), {}, {}};
  open_more(pair.listener, pair.client, pair.server);
  return pair;
}

Traits traits_of(std::string_view scheme) {
  static std::map<std::string, Traits, std::less<>> known;
  auto it = known.find(scheme);
  if (it == known.end()) {
    Pair pair = open_pair(scheme);
    it = known.emplace(scheme, pair.client.traits()).first;
    auto other = std::async(std::launch::async, [&] { return pair.server.close(soon()); });
    static_cast<void>(pair.client.close(soon()));  // the conformance cases look at this, not the question
  }
  return it->second;
}

std::string to_text(const Books& books) {
  std::ostringstream text;
  const auto reasons = [&](std::string_view what, const ReasonCounts& counts) {
    text << ' ' << what << '{';
    for (std::size_t i = 0; i < kReasons; ++i) {
      if (counts[i] != 0) text << ' ' << name(static_cast<Reason>(i)) << ':' << counts[i];
    }
    text << " }";
  };
  text << "offered " << books.offered << " accepted " << books.accepted;
  reasons("refused", books.refused);
  reasons("lost", books.lost);
  text << " received " << books.received;
  reasons("dropped", books.dropped);
  text << " duplicates " << books.duplicates << " reordered " << books.reordered;
  if (books.peer_accepted) text << " peer_accepted " << *books.peer_accepted;
  if (books.peer_received) text << " peer_received " << *books.peer_received;
  text << " peer_dropped " << books.peer_dropped << (books.closed() ? " (closed)" : " (open)");
  return text.str();
}

namespace {

/// One end's account of its messages against what the other end knows for itself. What the peer had not received when
/// it closed is lost here; if it then still arrived, the peer has counted it as dropped after its last word.
void require_one_direction(const Books& from, const Books& to) {
  CHECK(from.offered == from.accepted + total(from.refused));
  CHECK(from.peer_received == to.received);
  CHECK(from.peer_dropped <= total(to.dropped));
  CHECK(from.accepted == to.received + from.peer_dropped + total(from.lost));
  CHECK(from.accepted >= to.received + total(to.dropped));
  CHECK(to.peer_accepted == from.accepted);
}

}  // namespace

void close_books(Channel& one, Channel& other) {
  auto closing = std::async(std::launch::async, [&] { return other.close(soon()); });
  const std::error_code mine = one.close(soon());
  const std::error_code theirs = closing.get();
  const Books a = one.books();
  const Books b = other.books();
  INFO("this end:  " << to_text(a) << "\nother end: " << to_text(b));
  if (one.traits().exchanges_books) {
    CHECK_FALSE(mine);
    CHECK_FALSE(theirs);
    require_one_direction(a, b);
    require_one_direction(b, a);
    CHECK(a.closed());
    REQUIRE(b.closed());
  } else {
    CHECK(a.offered == a.accepted + total(a.refused));
    REQUIRE(b.offered == b.accepted + total(b.refused));
  }
}

}  // namespace bus::test
