// tests/support/traffic.hpp: sending and receiving checked streams of messages, and threads whose sleep can be seen.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <functional>
#include <future>
#include <utility>

#include "bus/core/channel.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/payload.hpp"

namespace bus::test {

inline std::uint64_t dropped(const Books& books, Reason reason) {
  return books.dropped[static_cast<std::size_t>(reason)];
}

using SizeOf = std::function<std::size_t(std::uint64_t sequence)>;
[[nodiscard]] inline SizeOf always(std::size_t size) {
  return [size](std::uint64_t) { return size; };
}

/// What became of a stream at one end.
struct Stream {
  std::uint64_t count = 0;      // messages sent, or received
  std::uint64_t damaged = 0;    // received, and not what was sent
  std::uint64_t misplaced = 0;  // received out of order or twice
  std::error_code end;          // why it ended before the last; empty if it did not
};

/// Sends messages first, first + 1, ... `count` of them; stops at an error.
[[nodiscard]] inline Stream send_stream(Channel& channel, const Payloads& payloads, std::uint64_t first,
                                        std::uint64_t count, const SizeOf& size_of, Deadline deadline = soon()) {
  Stream stream;
  std::vector<std::byte> buffer;
  for (; stream.count < count; ++stream.count) {
    const std::uint64_t sequence = first + stream.count;
    buffer.resize(size_of(sequence));
    payloads.fill(buffer, sequence);
    stream.end = channel.send(buffer, deadline);
    if (stream.end) return stream;
  }
  stream.end = channel.flush(deadline);
  return stream;
}

/// Takes messages until there were `count` or an error came. With `gaps`, some may be missing: each message then has
/// to name its sequence itself, and be in order.
[[nodiscard]] inline Stream receive_stream(Channel& channel, const Payloads& payloads, std::uint64_t first,
                                           std::uint64_t count, bool gaps = false, Deadline deadline = soon()) {
  Stream stream;
  for (std::uint64_t next = first; stream.count < count; ++stream.count, ++next) {
    const Result<Message> message = channel.receive(deadline);
    if (!message) {
      stream.end = message.error();
      break;
    }
    if (gaps) {
      const auto sequence = Payloads::sequence_of(message->bytes());
      if (!sequence || *sequence >= first + count) {
        ++stream.damaged;
        continue;
      }
      if (*sequence < next) ++stream.misplaced;
      next = *sequence;
    }
    if (!payloads.matches(message->bytes(), next)) ++stream.damaged;
  }
  return stream;
}

inline constexpr std::uint64_t kUntilTheEnd = std::uint64_t{1} << 62;

/// A call in a thread of its own, which can be waited for to fall asleep.
template <class T>
class InThread {
 public:
  template <class F>
  explicit InThread(F&& call) {
    std::promise<pid_t> tid;
    auto told = tid.get_future();
    result_ = std::async(std::launch::async, [call = std::forward<F>(call), tid = std::move(tid)]() mutable -> T {
      tid.set_value(::gettid());
      return call();
    });
    tid_ = told.get();
  }

  /// Waits until the thread sleeps in the kernel or is done: from here on the call is blocked, as far as can be seen.
  void wait_until_blocked() {
    static_cast<void>(
        eventually([this] { return kernel_state("/proc/self/task/" + std::to_string(tid_)) == 'S' || done(); }));
  }
  [[nodiscard]] bool done() const { return result_.wait_for(std::chrono::seconds(0)) == std::future_status::ready; }
  [[nodiscard]] T get() { return result_.get(); }

 private:
  std::future<T> result_;
  pid_t tid_ = -1;
};
template <class F>
InThread(F&&) -> InThread<std::invoke_result_t<F>>;

/// Sends until the channel has no more room and none appears by itself: the kernel's buffers of a socket may take some
/// more after they have refused. `end` is would_block then.
[[nodiscard]] inline Stream fill(Channel& channel, const Payloads& payloads, std::uint64_t first, std::size_t size) {
  Stream stream;
  std::vector<std::byte> buffer(size);
  const auto next = [&] { payloads.fill(buffer, first + stream.count); };
  std::error_code still_full;
  do {
    for (next(); !(stream.end = channel.try_send(buffer)); next()) ++stream.count;
    if (stream.end != Errc::would_block) return stream;
    still_full = channel.send(buffer, in(std::chrono::milliseconds(20)));
    if (!still_full) ++stream.count;
  } while (!still_full);
  if (still_full != Errc::timed_out) stream.end = still_full;
  return stream;
}

}  // namespace bus::test
