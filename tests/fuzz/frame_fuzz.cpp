// tests/fuzz/frame_fuzz.cpp: a stream cut at places that the input chooses gives what it gives in one piece.
//
// Input: a byte for framing and limit, a byte for the number of cuts, a byte for each cut, then the stream.
#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "transports/stream/frame.hpp"

namespace {

using namespace bus::stream;

void require(bool ok) {
  if (!ok) std::abort();
}

struct Decoded {
  std::vector<std::string> frames;
  bus::Errc error{};
  std::size_t consumed = 0;
  friend bool operator==(const Decoded&, const Decoded&) = default;
};

/// `ends` rises; the last one is the size of the stream.
Decoded decode(Cutter cutter, std::span<const std::byte> stream, const std::vector<std::size_t>& ends,
               std::size_t max_message) {
  Decoded decoded;
  for (std::size_t piece = 0; piece < ends.size(); ++piece) {
    // A copy of its own for each look: reading behind its end is seen by AddressSanitizer.
    for (;;) {
      const std::vector<std::byte> there(stream.begin() + static_cast<std::ptrdiff_t>(decoded.consumed),
                                         stream.begin() + static_cast<std::ptrdiff_t>(ends[piece]));
      const Cut cut = cutter.next(there, piece + 1 == ends.size());
      if (cut.what == Cut::What::more) {
        require(cut.whole > there.size());
        break;
      }
      if (cut.what == Cut::What::bad) {
        decoded.error = cut.error;
        return decoded;
      }
      require(cut.whole > 0 && cut.whole <= there.size() && cut.skip + cut.size <= cut.whole);
      if (cut.what == Cut::What::message) {
        require(cut.size <= max_message);
      } else {
        require(cut.size == kCountsFrameBytes - kHeaderBytes);
        const Counts counts = decode_counts(std::span(there).subspan<kHeaderBytes, kCountsFrameBytes - kHeaderBytes>());
        const auto kind = cut.what == Cut::What::end ? Kind::end : Kind::ack;
        require(std::ranges::equal(encode_counts(kind, counts), std::span(there).first(kCountsFrameBytes)));
      }
      decoded.frames.emplace_back(reinterpret_cast<const char*>(there.data()) + cut.skip, cut.size);
      decoded.consumed += cut.whole;
    }
  }
  return decoded;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  // Not raw: what is a message there is what has arrived.
  const auto framing = data[0] % 2 == 0 ? Framing::bus : Framing::line;
  const std::size_t max_message = std::size_t{1} << (data[0] >> 1) % 12;
  const std::size_t cuts = std::min<std::size_t>(data[1] % 32, size - 2);
  const std::span stream(reinterpret_cast<const std::byte*>(data) + 2 + cuts, size - 2 - cuts);
  std::vector<std::size_t> ends;
  for (std::size_t i = 0; i < cuts; ++i) ends.push_back(stream.size() * data[2 + i] / 256);
  std::sort(ends.begin(), ends.end());
  ends.push_back(stream.size());
  const Cutter cutter(framing, max_message);
  require(decode(cutter, stream, ends, max_message) == decode(cutter, stream, {stream.size()}, max_message));
  return 0;
}
