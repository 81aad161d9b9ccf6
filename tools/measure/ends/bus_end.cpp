// tools/measure/ends/bus_end.cpp: connecting, accepting, and many channels at once.
#include "tools/measure/ends/bus_end.hpp"

namespace bus::tools::measure {
namespace {

constexpr std::size_t kTurn = 256;  // messages of one channel before the next one's turn

}  // namespace

BusEnd BusEnd::connected(const std::string& address, Deadline deadline) {
  BusEnd end;
  end.channels_.push_back(connect(address, deadline));
  return end;
}

BusEnd BusEnd::accepted(Listener& listener, std::size_t channels, Deadline deadline) {
  BusEnd end;
  for (std::size_t i = 0; i < channels; ++i) {
    auto channel = listener.accept(deadline);
    if (!channel) throw Error(channel.error(), describe("accept", listener.address(), channel.error()));
    end.channels_.push_back(std::move(*channel));
  }
  if (channels > 1) {
    end.poller_.emplace();
    end.ready_.resize(channels);
    for (std::size_t i = 0; i < channels; ++i) end.poller_->add(end.channels_[i], i);
  }
  return end;
}

bool BusEnd::receive_from_any(View& view) noexcept {
  for (;;) {
    for (; at_ < ready_count_; ++at_, taken_ = 0) {
      const auto from = static_cast<std::size_t>(ready_[at_]);
      if (taken_ == kTurn) continue;
      auto message = channels_[from].try_receive();
      if (!message) {
        if (message.error() != Errc::would_block) return ok_received(message.error());
        continue;
      }
      ++taken_;
      message_ = std::move(*message);
      view = {message_.bytes(), from};
      return true;
    }
    try {
      ready_count_ = poller_->wait(ready_);
    } catch (const Error& error) {
      return ok_received(error.code());
    }
    at_ = taken_ = 0;
  }
}

Books BusEnd::books() const {
  Books sum = channels_[0].books();
  for (std::size_t i = 1; i < channels_.size(); ++i) {
    const Books one = channels_[i].books();
    sum.received += one.received;
    for (std::size_t r = 0; r < sum.dropped.size(); ++r) sum.dropped[r] += one.dropped[r];
    sum.duplicates += one.duplicates;
    sum.reordered += one.reordered;
  }
  return sum;
}

}  // namespace bus::tools::measure
