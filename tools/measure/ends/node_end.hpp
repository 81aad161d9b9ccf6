// tools/measure/ends/node_end.hpp: a node of our bus, used as any program uses it: one subscription, one subject.
#pragma once

#include <optional>
#include <string>

#include "bus/client/node.hpp"
#include "tools/measure/ends/view.hpp"

namespace bus::tools::measure {

class NodeEnd {
 public:
  static constexpr bool kLoans = false;
  static constexpr bool kBatches = false;

  /// Joins the broker at `bus`. Messages come on subject `in` and go to `out`; up to `depth` may be on their way here.
  /// Throws Error.
  NodeEnd(const std::string& bus, const std::string& in, std::string out, std::uint32_t depth)
      : node_(Node::join(bus)), subscription_(node_.subscribe(in, {.depth = depth})), out_(std::move(out)) {}

  [[nodiscard]] bool send(std::span<const std::byte> message) noexcept { return ok(node_.publish(out_, message)); }
  [[nodiscard]] bool flush() noexcept { return ok(node_.flush()); }
  [[nodiscard]] bool receive(View& view) noexcept {
    auto message = subscription_.receive();
    if (!message) return ok(message.error());
    message_ = std::move(*message);
    view.bytes = message_->bytes();
    return true;
  }
  [[nodiscard]] std::string failure() const { return error_.message(); }

 private:
  [[nodiscard]] bool ok(std::error_code error) noexcept {
    if (error) error_ = error;
    return !error;
  }

  Node node_;
  Subscription subscription_;
  std::string out_;
  std::optional<Delivery> message_;
  std::error_code error_;
};

}  // namespace bus::tools::measure
