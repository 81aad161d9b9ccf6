// tests/bus/protocol/golden.hpp: a frame of each type with its bytes, and frames as text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bus/protocol/frame.hpp"
#include "tests/bus/protocol/hex.hpp"

namespace bus::test::frames {

using namespace protocol;

inline constexpr Instance kNode{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
inline constexpr Instance kBroker{16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};
inline constexpr std::uint64_t kPublisher = 0x0807060504030201;
inline const ByteVector kPair = hex("01 00 01 00 6b 76");
inline const ByteVector kHi = bytes_of_text("hi");
inline const ByteVector kItems = hex("02 00 68 69  00 00  01 00 79");

struct Golden {
  std::string name;
  Frame frame;
  ByteVector bytes;
  unsigned flags = 0;       // all that frames of this type may have
  std::size_t payload = 0;  // bytes at the end whose number nothing in the frame says
};
[[nodiscard]] std::vector<Golden> golden();
[[nodiscard]] const Golden& golden(std::string_view name);

/// With every member.
[[nodiscard]] std::string describe(const Frame&);
[[nodiscard]] ByteVector encoded(const Frame&);
/// What decoding gives, as text. `bytes` is a vector of just that size: AddressSanitizer sees what is read behind it.
[[nodiscard]] std::string outcome(const ByteVector& bytes);

[[nodiscard]] ByteVector first(const ByteVector&, std::size_t size);
[[nodiscard]] ByteVector with(ByteVector, std::size_t at, const ByteVector& instead);

}  // namespace bus::test::frames
