// tests/fuzz/hello_fuzz.cpp: both ends of the handshake of framing=bus against what a stranger sends.
//
// Input: a byte for the end and for what a listening end thinks of its peer, a byte for the size of the pieces, then
// the stranger's bytes.
#include <algorithm>
#include <cstdlib>

#include "transports/stream/hello.hpp"

namespace {

using namespace bus::stream;

void require(bool ok) {
  if (!ok) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const auto side = data[0] % 2 == 0 ? Handshake::Side::connecting : Handshake::Side::listening;
  Hello mine;
  mine.max_message = 1000;
  if (data[0] & 2) mine.verdict = Verdict::permission_denied;
  const std::size_t step = 1 + data[1];
  std::span bytes(reinterpret_cast<const std::byte*>(data) + 2, size - 2);
  std::size_t taken = 0, answered = 0;

  Handshake handshake(side, mine);
  for (;;) {
    if (side == Handshake::Side::listening && !handshake.outgoing().empty()) require(taken >= 8);  // not to a stranger
    answered += handshake.outgoing().size();
    handshake.sent(handshake.outgoing().size());
    require(answered <= kHelloBytes);
    const auto room = handshake.wanted();
    const std::size_t count = std::min({room.size(), step, bytes.size()});
    if (count == 0) break;
    std::copy_n(bytes.begin(), count, room.begin());
    bytes = bytes.subspan(count);
    handshake.received(count);
    taken += count;
    require(taken <= kMostHelloBytes);
  }
  if (handshake.over() && !handshake.failure()) {
    require(taken >= kHelloBytes && answered == kHelloBytes);
    require(handshake.peer().version == mine.version && handshake.peer().verdict == Verdict::welcome);
  }
  if (handshake.failure()) {
    require(handshake.over() && handshake.wanted().empty());
    static_cast<void>(handshake.detail());
  }
  return 0;
}
