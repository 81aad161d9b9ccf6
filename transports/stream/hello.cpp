// transports/stream/hello.cpp: encoding, checking and exchanging hellos.
#include "transports/stream/hello.hpp"

#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "bus/core/errc.hpp"
#include "transports/stream/frame.hpp"

namespace bus::stream {
namespace {

constexpr std::array<std::byte, 4> kMagic{std::byte{0x89}, std::byte{0x62}, std::byte{0x75}, std::byte{0x73}};
constexpr std::size_t kFixedBytes = 8;  // the same in every version

void store(std::byte* to, std::uint64_t value, std::size_t bytes) noexcept {
  for (std::size_t i = 0; i < bytes; ++i) to[i] = static_cast<std::byte>(value >> (8 * i) & 0xff);
}

std::uint32_t load(const std::byte* from, std::size_t bytes) noexcept {
  std::uint32_t value = 0;
  for (std::size_t i = bytes; i-- > 0;) value = value << 8 | std::to_integer<std::uint32_t>(from[i]);
  return value;
}

}  // namespace

std::array<std::byte, kHelloBytes> encode_hello(const Hello& hello) noexcept {
  std::array<std::byte, kHelloBytes> out{};
  std::copy(kMagic.begin(), kMagic.end(), out.begin());
  store(out.data() + 4, kHelloBytes, 2);
  store(out.data() + 6, hello.version, 1);
  store(out.data() + 7, static_cast<std::uint8_t>(hello.verdict), 1);
  store(out.data() + 8, hello.max_message, 4);
  store(out.data() + 12, hello.pid, 4);
  std::memcpy(out.data() + 16, hello.instance.data(), hello.instance.size());
  return out;
}

Hello make_hello(std::size_t max_message) noexcept {
  Hello hello;
  hello.version = kVersion;
  hello.max_message = static_cast<std::uint32_t>(std::min<std::size_t>(max_message, UINT32_MAX));
  hello.pid = static_cast<std::uint32_t>(::getpid());
  // An instance tells endpoints apart and protects nothing: without randomness, time and pid do.
  if (::getrandom(hello.instance.data(), hello.instance.size(), GRND_NONBLOCK) !=
      static_cast<ssize_t>(hello.instance.size())) {
    const auto now = static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
    std::memcpy(hello.instance.data(), &now, sizeof now);
    std::memcpy(hello.instance.data() + sizeof now, &hello.pid, sizeof hello.pid);
  }
  return hello;
}

Handshake::Handshake(Side side, const Hello& mine) noexcept : side_(side), mine_(mine), out_(encode_hello(mine)) {}

std::span<const std::byte> Handshake::outgoing() const noexcept {
  if (side_ == Side::listening && !answering_) return {};
  return std::span(out_).subspan(std::min(sent_, out_.size()));
}

std::span<std::byte> Handshake::wanted() noexcept {
  if (failure_ || (size_ != 0 && received_ == size_)) return {};
  if (received_ < kFixedBytes) return std::span(in_).subspan(received_, kFixedBytes - received_);
  if (received_ < kHelloBytes) return std::span(in_).subspan(received_, kHelloBytes - received_);
  return std::span(skipped_).first(std::min(skipped_.size(), size_ - received_));
}

void Handshake::received(std::size_t count) noexcept {
  received_ += count;
  check();
}

void Handshake::check() noexcept {
  // The magic is checked as far as it has come, so that a stranger who speaks another protocol is told at once.
  if (!std::equal(kMagic.begin(), kMagic.begin() + static_cast<std::ptrdiff_t>(std::min(received_, kMagic.size())),
                  in_.begin())) {
    failure_ = make_error_code(Errc::corrupt);
    return;
  }
  if (received_ < kFixedBytes) return;
  if (size_ == 0) {
    peer_.version = std::to_integer<std::uint8_t>(in_[6]);
    peer_.verdict = static_cast<Verdict>(in_[7]);
    const std::size_t size = load(in_.data() + 4, 2);
    if (peer_.version != mine_.version || peer_.verdict == Verdict::version_mismatch) {
      failure_ = make_error_code(Errc::version_mismatch);
    } else if (size < kHelloBytes || size > kMostHelloBytes || peer_.verdict > Verdict::permission_denied) {
      failure_ = make_error_code(Errc::corrupt);
      return;
    } else if (peer_.verdict == Verdict::permission_denied) {
      failure_ = make_error_code(Errc::permission_denied);
    }
    if (failure_) {
      if (side_ == Side::listening && failure_ == Errc::version_mismatch) answer(Verdict::version_mismatch);
      return;
    }
    size_ = size;
  }
  if (received_ < size_) return;
  peer_.max_message = load(in_.data() + 8, 4);
  peer_.pid = load(in_.data() + 12, 4);
  std::memcpy(peer_.instance.data(), in_.data() + 16, peer_.instance.size());
  if (side_ == Side::listening) {
    if (mine_.verdict == Verdict::permission_denied) failure_ = make_error_code(Errc::permission_denied);
    answer(mine_.verdict);
  }
}

void Handshake::answer(Verdict verdict) noexcept {
  mine_.verdict = verdict;
  out_ = encode_hello(mine_);
  answering_ = true;
}

bool Handshake::over() const noexcept {
  if (failure_) return outgoing().empty() || side_ == Side::connecting;
  return size_ != 0 && received_ == size_ && sent_ >= out_.size();
}

std::string Handshake::detail() const {
  if (failure_ == Errc::version_mismatch) {
    return "have " + std::to_string(mine_.version) + ", peer " + std::to_string(peer_.version);
  }
  if (failure_ == Errc::corrupt) {
    return "the peer does not speak framing=bus; framing=raw or framing=line talk to other programs";
  }
  if (failure_ == Errc::permission_denied) return "the listener does not let this user in";
  return {};
}

}  // namespace bus::stream
