// tools/measure/ends/queue_end.hpp: boost::interprocess::message_queue, used as its documentation shows.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bus/core/wait.hpp"
#include "tools/measure/ends/view.hpp"

namespace bus::tools::measure {

class QueueEnd {
 public:
  static constexpr bool kLoans = false;
  static constexpr bool kBatches = false;

  /// Two queues whose names begin with `name`. The far end makes and removes them; the near end opens them. Throws
  /// Error.
  QueueEnd(const std::string& name, std::size_t size, bool near, WaitMode wait);
  ~QueueEnd();
  QueueEnd(const QueueEnd&) = delete;
  QueueEnd& operator=(const QueueEnd&) = delete;

  [[nodiscard]] bool send(std::span<const std::byte> message) noexcept;
  [[nodiscard]] bool flush() noexcept { return true; }
  [[nodiscard]] bool receive(View& view) noexcept;
  [[nodiscard]] std::string failure() const { return failure_; }

  /// Removes both queues, if they are there.
  static void remove(const std::string& name) noexcept;
  [[nodiscard]] static std::string version();

 private:
  struct Queues;
  std::unique_ptr<Queues> queues_;
  const bool busy_;
  std::vector<std::byte> incoming_;
  std::string failure_;
};

}  // namespace bus::tools::measure
