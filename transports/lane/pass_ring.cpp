// transports/lane/pass_ring.cpp: the note and its descriptor.
#include "transports/lane/pass_ring.hpp"

#include <array>
#include <cstdint>
#include <utility>

#include "bus/core/errc.hpp"
#include "bus/core/os/bytes.hpp"
#include "bus/core/os/pass_fd.hpp"

namespace bus::lane {
namespace {

constexpr std::uint32_t kRingMagic = 0x474e4952;  // "RING"
constexpr std::size_t kNoteBytes = 16;

}  // namespace

std::error_code pass_ring(int socket, int memfd, std::size_t capacity) noexcept {
  std::array<std::byte, kNoteBytes> note{};
  os::put_u32(&note[0], kRingMagic);
  os::put_u64(&note[8], capacity);
  return os::send_with_fds(socket, note, std::array{memfd});
}

Result<PassedRing> take_ring(int socket) noexcept {
  std::array<std::byte, kNoteBytes> note{};
  Result<os::Received> received = os::receive_with_fds(socket, note, 1);
  // The writer passes the ring before it commits the record that led here.
  if (!received || received->size != kNoteBytes || received->fds.size() != 1) return Errc::corrupt;
  const std::uint64_t capacity = os::get_u64(&note[8]);
  if (os::get_u32(&note[0]) != kRingMagic || os::get_u32(&note[4]) != 0 || capacity > (std::uint64_t{1} << 31)) {
    return Errc::corrupt;
  }
  return PassedRing{std::move(received->fds[0]), static_cast<std::size_t>(capacity)};
}

}  // namespace bus::lane
