// transports/lane/memory.hpp: sealed anonymous memory, made by one end and mapped by both.
//
// A memfd has no name: nothing is left behind, whoever dies. Its size is sealed, so that no peer can shrink it
// under a mapping; its pages are allocated up front, so that no later access runs out of memory (SIGBUS); new
// writable mappings and write() are sealed off, so that whom it is passed to can only read.
#pragma once

#include <boost/interprocess/mapped_region.hpp>
#include <cstddef>
#include <cstdint>
#include <span>

#include "bus/core/os/fd.hpp"
#include "transports/lane/layout.hpp"

namespace bus::lane {

enum class Access : unsigned char { read_only, read_write };

/// A status page. The one that made it may write.
class Page {
 public:
  /// A fresh page: magic and version are set, all else is zero. Throws Error(no_room).
  [[nodiscard]] static Page make();
  /// The peer's. Throws Error(corrupt, version_mismatch) if it is not what it should be.
  [[nodiscard]] static Page map(int memfd);

  [[nodiscard]] StatusPage& status() const noexcept { return *static_cast<StatusPage*>(region_.get_address()); }
  [[nodiscard]] int memfd() const noexcept { return memfd_.get(); }
  void drop_memfd() noexcept { memfd_.reset(); }

 private:
  boost::interprocess::mapped_region region_;
  os::Fd memfd_;
};

/// A ring's bytes, mapped twice in a row.
class Ring {
 public:
  Ring() = default;
  /// Memory for a lane's writer. `capacity` is a power of two of whole pages. Throws Error(no_room).
  [[nodiscard]] static Ring make(std::size_t capacity);
  /// The peer's, to read. Throws Error(corrupt).
  [[nodiscard]] static Ring map(int memfd, std::size_t capacity);

  [[nodiscard]] std::size_t capacity() const noexcept { return first_.get_size(); }
  [[nodiscard]] Record& at(std::uint64_t position) const noexcept {
    return *reinterpret_cast<Record*>(base_ + (position & (first_.get_size() - 1)));
  }
  [[nodiscard]] int memfd() const noexcept { return memfd_.get(); }
  void drop_memfd() noexcept { memfd_.reset(); }

 private:
  Ring(int memfd, std::size_t capacity, Access access);
  std::byte* base_ = nullptr;
  boost::interprocess::mapped_region first_, second_;
  os::Fd memfd_;
};

/// The ring size for a wish in bytes: a power of two, at least a page.
[[nodiscard]] std::size_t ring_capacity(std::size_t wish) noexcept;

}  // namespace bus::lane
