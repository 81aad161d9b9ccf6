// transports/stream/frame.cpp: the parts of the codec that are not needed for each message of a burst.
#include "transports/stream/frame.hpp"

#include <algorithm>
#include <cstring>

namespace bus::stream {
namespace {

constexpr std::byte kReturn{'\r'};

const std::byte* find_newline(std::span<const std::byte> bytes) noexcept {
  if (bytes.empty()) return nullptr;
  return static_cast<const std::byte*>(std::memchr(bytes.data(), '\n', bytes.size()));
}

Cut bad(Errc error) noexcept {
  Cut cut;
  cut.what = Cut::What::bad;
  cut.error = error;
  return cut;
}

}  // namespace

std::optional<Framing> parse_framing(std::string_view text) noexcept {
  if (text == "bus") return Framing::bus;
  if (text == "raw") return Framing::raw;
  if (text == "line") return Framing::line;
  return std::nullopt;
}

std::array<std::byte, kCountsFrameBytes> encode_counts(Kind kind, const Counts& counts) noexcept {
  std::array<std::byte, kCountsFrameBytes> out;
  const auto header = encode_header(kCountsFrameBytes - kHeaderBytes, kind);
  std::copy(header.begin(), header.end(), out.begin());
  detail::store_u64(out.data() + 8, counts.accepted);
  detail::store_u64(out.data() + 16, counts.received);
  detail::store_u64(out.data() + 24, counts.dropped);
  return out;
}

Counts decode_counts(std::span<const std::byte, 24> body) noexcept {
  return {detail::load_u64(body.data()), detail::load_u64(body.data() + 8), detail::load_u64(body.data() + 16)};
}

Cut check_header(std::uint64_t header, std::size_t max_message) noexcept {
  const std::uint64_t size = header & 0xffffffff;
  if ((header >> 32 & 0xff) != kVersion) return bad(Errc::version_mismatch);
  if (header >> 48 != 0) return bad(Errc::corrupt);
  Cut cut;
  switch (static_cast<Kind>(header >> 40 & 0xff)) {
    case Kind::message:
      if (size > max_message) return bad(Errc::corrupt);
      cut.what = Cut::What::message;
      break;
    case Kind::end:
    case Kind::ack:
      if (size != kCountsFrameBytes - kHeaderBytes) return bad(Errc::corrupt);
      cut.what = (header >> 40 & 0xff) == static_cast<std::uint64_t>(Kind::end) ? Cut::What::end : Cut::What::ack;
      break;
    default:
      return bad(Errc::corrupt);
  }
  cut.skip = kHeaderBytes;
  cut.size = size;
  cut.whole = kHeaderBytes + size;
  return cut;
}

Cut Cutter::next_line(std::span<const std::byte> bytes, bool at_end) noexcept {
  const std::byte* newline = find_newline(bytes.subspan(std::min(searched_, bytes.size())));
  Cut cut;
  if (newline != nullptr) {
    cut.size = static_cast<std::size_t>(newline - bytes.data());
    cut.whole = cut.size + 1;
    if (cut.size > 0 && bytes[cut.size - 1] == kReturn) --cut.size;
  } else if (at_end && !bytes.empty()) {
    cut.size = cut.whole = bytes.size();
  } else {
    searched_ = bytes.size();
    // '\r' may still turn out to belong to the delimiter
    const std::size_t sure = !bytes.empty() && bytes.back() == kReturn ? bytes.size() - 1 : bytes.size();
    if (sure > max_message_) return bad(Errc::message_too_large);
    cut.whole = bytes.size() + 1;
    return cut;
  }
  searched_ = 0;
  if (cut.size > max_message_) return bad(Errc::message_too_large);
  cut.what = Cut::What::message;
  return cut;
}

Cut Cutter::next_raw(std::span<const std::byte> bytes) const noexcept {
  Cut cut;
  cut.whole = 1;
  if (bytes.empty()) return cut;
  cut.what = Cut::What::message;
  cut.size = cut.whole = std::min(bytes.size(), std::max<std::size_t>(max_message_, 1));
  return cut;
}

bool can_carry(Framing framing, std::span<const std::byte> payload) noexcept {
  if (framing != Framing::line || payload.empty()) return true;
  return payload.back() != kReturn && find_newline(payload) == nullptr;
}

}  // namespace bus::stream
