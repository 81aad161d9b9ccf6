// transports/mq/queue.hpp: one boost::interprocess::message_queue, with codes instead of exceptions.
//
// Boost's queue is used as it is: its memory, its index, its robust mutex, one copy in and one copy out. Only its
// condition variables are not: try_send and try_receive never wait, so nobody ever waits on them and nobody ever
// notifies (README.md says why that matters).
//
// Threads: any, in any process; the queue's mutex orders them. That order is also what sleepers rely on: a word that
// was stored before has_message() or has_room() said no is seen by whoever pushes or pops after it.
// Death: a process killed inside the mutex makes the queue unusable for good: every later call says `died`.
// Trust: the queue's memory is Boost's to check, and it does not. Whoever opens the queue can break it.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace bus::mq {

/// What a queue says. `died`: a process died inside the queue's mutex. `broken`: the queue's memory makes no sense.
enum class Outcome : unsigned char { done, wait, died, broken };

class Queue {
 public:
  /// A new queue of `depth` messages of at most `slot` bytes, for this user only, its memory allocated up front.
  /// Leaves nothing behind when it fails. Throws Error: no_room, or the system's.
  [[nodiscard]] static Queue create(const std::string& name, std::size_t depth, std::size_t slot);
  /// A queue that another process has made. Never waits for one that is half made.
  /// Throws Error: no_peer (no such queue), corrupt (another owner, mode or geometry), or the system's.
  [[nodiscard]] static Queue open(const std::string& name, std::size_t depth, std::size_t slot);

  Queue(Queue&&) noexcept;
  Queue& operator=(Queue&&) noexcept;
  ~Queue();

  /// Copies a message of at most slot bytes in. `wait`: the queue is full.
  [[nodiscard]] Outcome try_push(std::span<const std::byte> payload) noexcept;
  /// Copies the next message out; `into` has at least slot bytes. `wait`: the queue is empty.
  [[nodiscard]] Outcome try_pop(std::span<std::byte> into, std::size_t& size) noexcept;
  /// How many messages are in it. `wait`: none.
  [[nodiscard]] Outcome count(std::size_t& messages) noexcept;

  [[nodiscard]] std::size_t depth() const noexcept { return depth_; }
  [[nodiscard]] std::size_t slot() const noexcept { return slot_; }

  /// The least memory that a queue takes in /dev/shm: what error texts say.
  [[nodiscard]] static std::size_t memory(std::size_t depth, std::size_t slot) noexcept;

 private:
  struct Impl;
  Queue(std::unique_ptr<Impl> impl, std::size_t depth, std::size_t slot) noexcept;
  std::unique_ptr<Impl> impl_;
  std::size_t depth_, slot_;
};

/// Owns the name of a queue, not the queue: removes the name when destroyed, in the process that made it.
class QueueName {
 public:
  QueueName() noexcept = default;
  explicit QueueName(std::string name);
  QueueName(QueueName&& other) noexcept;
  QueueName& operator=(QueueName&& other) noexcept;
  ~QueueName() { remove(); }

  [[nodiscard]] const std::string& text() const noexcept { return name_; }
  void remove() noexcept;

 private:
  std::string name_;
  int owner_ = 0;
};

/// All queue names that are `prefix`, 32 hexadecimal digits and one of the two endings that link.hpp gives them.
[[nodiscard]] std::vector<std::string> find_queues(std::string_view prefix);
void remove_queue(const std::string& name) noexcept;

}  // namespace bus::mq
