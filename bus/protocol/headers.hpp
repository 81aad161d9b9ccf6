// bus/protocol/headers.hpp: what a message says about itself besides its payload: pairs of key and value.
//
// A block is its pairs, one after the other, in the order in which they were added. Little-endian.
//   offset      size        field
//        0         2        key_size    1..65535
//        2         2        value_size  0..65535
//        4         key_size
//        ...       value_size
// and is at most kMaxHeaders bytes long. A block without pairs is empty: a frame says that it has none. Keys and values
// are any bytes; a key may be there more than once.
#pragma once

#include <cstddef>
#include <iterator>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace bus::protocol {

inline constexpr std::size_t kMaxHeaders = std::size_t{64} << 10;  // bytes of a block, sizes included

struct Header {
  std::string_view key, value;
  friend bool operator==(const Header&, const Header&) = default;
};

/// Reads a block in place; the bytes have to outlive it and all that it gives. A range of Header.
/// On bytes that are no block it ends before the first pair that is none.
/// Cost: no allocation.
class Headers {
 public:
  class Iterator {
   public:
    using value_type = Header;
    using reference = Header;
    using difference_type = std::ptrdiff_t;
    using iterator_category = std::input_iterator_tag;

    Iterator() noexcept = default;  // the end
    explicit Iterator(std::span<const std::byte> bytes) noexcept : rest_(bytes) { ++*this; }

    [[nodiscard]] Header operator*() const noexcept { return header_; }
    [[nodiscard]] const Header* operator->() const noexcept { return &header_; }
    Iterator& operator++() noexcept;
    Iterator operator++(int) noexcept;
    friend bool operator==(const Iterator& one, const Iterator& other) noexcept { return one.at_ == other.at_; }

   private:
    friend class Headers;
    Header header_;                    // the pair that it stands on
    const std::byte* at_ = nullptr;    // where that begins; null at the end
    std::span<const std::byte> rest_;  // behind that
  };

  Headers() noexcept = default;
  explicit Headers(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {}

  /// Nothing but whole pairs with keys, and not too many.
  [[nodiscard]] bool valid() const noexcept;
  [[nodiscard]] bool empty() const noexcept { return begin() == end(); }
  [[nodiscard]] Iterator begin() const noexcept { return Iterator(bytes_); }
  [[nodiscard]] Iterator end() const noexcept { return {}; }
  /// The value of the first pair with this key.
  [[nodiscard]] std::optional<std::string_view> find(std::string_view key) const noexcept;
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
};

/// Makes a block.
class HeaderBlock {
 public:
  /// Throws std::invalid_argument if the key is empty or the block would exceed kMaxHeaders, and std::bad_alloc; the
  /// block is what it was then.
  HeaderBlock& add(std::string_view key, std::string_view value);
  void clear() noexcept { bytes_.clear(); }
  /// Valid until the next change.
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace bus::protocol
