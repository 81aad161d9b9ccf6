// bus/core/message.hpp: one received message, usually a view into the transport's incoming buffer.
//
// Ownership: the bytes stay where they are until the Message is destroyed; that gives their room back.
// Messages of a channel may be destroyed in any order, and outlive the channel.
// Threads: a Message belongs to one thread at a time; it may be destroyed on any thread.
// Cost: moving is free; destroying takes no lock and no system call.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

namespace bus {

class Message {
 public:
  /// Takes the room of a message back. Implemented by transports; called once for each message,
  /// on whichever thread destroys it, also after the channel is gone.
  class Owner {
   public:
    virtual void release(void* token) noexcept = 0;

   protected:
    ~Owner() = default;
  };

  Message() noexcept = default;
  Message(std::span<const std::byte> bytes, Owner* owner, void* token) noexcept
      : bytes_(bytes), owner_(owner), token_(token) {}
  Message(Message&& other) noexcept
      : bytes_(std::exchange(other.bytes_, {})), owner_(std::exchange(other.owner_, nullptr)), token_(other.token_) {}
  Message& operator=(Message&& other) noexcept {
    if (this != &other) {
      reset();
      bytes_ = std::exchange(other.bytes_, {});
      owner_ = std::exchange(other.owner_, nullptr);
      token_ = other.token_;
    }
    return *this;
  }
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;
  ~Message() { reset(); }

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }
  [[nodiscard]] const std::byte* data() const noexcept { return bytes_.data(); }
  [[nodiscard]] std::size_t size() const noexcept { return bytes_.size(); }
  [[nodiscard]] bool empty() const noexcept { return bytes_.empty(); }
  [[nodiscard]] std::string_view text() const noexcept {
    return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()};
  }

  /// An independent message with the same bytes in memory of its own. Throws std::bad_alloc.
  [[nodiscard]] Message copy() const;

  /// Gives the room back now; the message is empty afterwards.
  void reset() noexcept {
    if (owner_ != nullptr) std::exchange(owner_, nullptr)->release(token_);
    bytes_ = {};
  }

 private:
  std::span<const std::byte> bytes_;
  Owner* owner_ = nullptr;
  void* token_ = nullptr;
};

/// The bytes of a text, as send() takes them.
[[nodiscard]] inline std::span<const std::byte> bytes_of(std::string_view text) noexcept {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

}  // namespace bus
