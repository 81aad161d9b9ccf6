// bus/broker/keyed_hash.cpp: SipHash-1-3.
#include "bus/broker/keyed_hash.hpp"

#include <bit>
#include <cstring>
#include <random>

namespace bus::broker {
namespace {

struct State {
  std::uint64_t a, b, c, d;

  void round() noexcept {
    a += b;
    b = std::rotl(b, 13) ^ a;
    a = std::rotl(a, 32);
    c += d;
    d = std::rotl(d, 16) ^ c;
    a += d;
    d = std::rotl(d, 21) ^ a;
    c += b;
    b = std::rotl(b, 17) ^ c;
    c = std::rotl(c, 32);
  }
  void take(std::uint64_t word) noexcept {
    d ^= word;
    round();
    a ^= word;
  }
};

std::uint64_t load(const char* from, std::size_t size) noexcept {
  std::uint64_t word = 0;
  std::memcpy(&word, from, size);
  if constexpr (std::endian::native == std::endian::big) word = __builtin_bswap64(word);
  return word;
}

std::array<std::uint64_t, 2> random_key() {
  std::random_device device;
  std::array<std::uint64_t, 2> key{};
  for (std::uint64_t& word : key) word = std::uint64_t{device()} << 32 | device();
  return key;
}

}  // namespace

KeyedHash::KeyedHash() : key_(random_key()) {}

std::uint64_t KeyedHash::operator()(std::string_view text) const noexcept {
  State state{key_[0] ^ 0x736f6d6570736575, key_[1] ^ 0x646f72616e646f6d, key_[0] ^ 0x6c7967656e657261,
              key_[1] ^ 0x7465646279746573};
  const char* at = text.data();
  std::size_t left = text.size();
  for (; left >= 8; left -= 8, at += 8) state.take(load(at, 8));
  const std::uint64_t end = left == 0 ? 0 : load(at, left);
  state.take(std::uint64_t{text.size()} << 56 | end);
  state.c ^= 0xff;
  state.round();
  state.round();
  state.round();
  return state.a ^ state.b ^ state.c ^ state.d;
}

}  // namespace bus::broker
