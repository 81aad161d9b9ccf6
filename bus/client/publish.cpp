// bus/client/publish.cpp: a session's publishing: within the window, in batches, and again until the outcome is known.
#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "bus/client/session.hpp"

namespace bus::client {

namespace {

// What one frame takes of messages that follow each other at once: README.md, "Batches".
constexpr std::uint32_t kMostGathered = 512;
constexpr std::size_t kMostGatheredBytes = std::size_t{64} << 10;
constexpr std::size_t kLargestGathered = std::size_t{4} << 10;  // payload of one message
static_assert(kMostGathered <= protocol::kMostInBatch);

}  // namespace

bool Session::window_is_full() const noexcept {
  return unreceipted_.size() >= limits_.window_messages || retained_.size() >= limits_.window_messages ||
         unreceipted_bytes_ >= limits_.window_bytes || retained_bytes_ >= limits_.window_bytes;
}

/// `size`: of the frame; `content`: what of it counts against the broker's limit.
bool Session::fits(std::size_t size, std::size_t content) const noexcept {
  return content <= limits_.max_payload && size <= max_frame_;
}

Result<std::uint64_t> Session::publish(std::string_view subject, Bytes payload, const PublishOptions& options, Time now,
                                       bool more_follow) {
  now_ = now;
  if (leaving_) return Errc::closed;
  if (state_ != State::up || moving_ || again_from_ != 0 || !waiting_.empty()) return Errc::would_block;
  const std::size_t size =
      protocol::kPublishHead + protocol::tail_size(subject, options.reply, options.headers, payload);
  const std::size_t content = subject.size() + options.reply.size() + options.headers.size() + payload.size();
  if (!fits(size, content)) return Errc::message_too_large;
  if (window_is_full()) {
    if (!reliable_) due(now + kAgain);
    return Errc::would_block;
  }
  more_follow = more_follow && reliable_ && payload.size() <= kLargestGathered && options.reply.empty() &&
                options.headers.empty() && options.level == Level::accepted && !options.tell && options.history == 0 &&
                protocol::kPublishHead + subject.size() + protocol::kItemSize + payload.size() <= max_frame_;
  if (!(more_follow && goes_with_gathered(subject, payload)) && !send_gathered()) return Errc::would_block;
  if (more_follow) return gather(subject, payload);

  const protocol::Publish frame{sequence_ + 1, options.level, options.tell,    false,  options.history,
                                subject,       options.reply, options.headers, payload};
  // Everything before the payload in one piece; the payload is copied once, into the channel.
  const auto head = protocol::publish_head(frame);
  const std::size_t before = head.size() + protocol::tail_size(subject, options.reply, options.headers, {});
  front_.resize(before);
  std::copy(head.begin(), head.end(), front_.begin());
  protocol::write_tail(front_.data() + head.size(), subject, options.reply, options.headers, {});
  const bool retain = options.level == Level::delivered || options.tell;
  const auto bytes = static_cast<std::uint32_t>(size);
  unreceipted_.push_back({frame.sequence, bytes, options.level});
  try {
    if (retain) {
      Retained retained{{}, options.level, now, bytes, static_cast<std::uint32_t>(content), false};
      if (options.level == Level::delivered) {
        auto again = frame;
        again.again = true;
        protocol::encode(again, retained.frame);
      }
      retained_.emplace(frame.sequence, std::move(retained));
    }
  } catch (const std::bad_alloc&) {
    unreceipted_.pop_back();
    throw;
  }
  if (!events_.send(front_, payload)) {
    unreceipted_.pop_back();
    if (retain) retained_.erase(frame.sequence);
    return Errc::would_block;
  }
  ++sequence_;
  ++books_.published;
  unreceipted_bytes_ += size;
  if (retain) retained_bytes_ += size;
  if (!reliable_) due(now + kAgain);
  return frame.sequence;
}

bool Session::goes_with_gathered(std::string_view subject, Bytes payload) const noexcept {
  return gathered_ < kMostGathered && is_gathering_on(subject) &&
         batch_.size() + protocol::kItemSize + payload.size() <= std::min(kMostGatheredBytes, max_frame_);
}

std::uint64_t Session::gather(std::string_view subject, Bytes payload) {
  const std::uint64_t sequence = sequence_ + 1;
  const std::size_t bytes = protocol::kPublishHead + subject.size() + payload.size();  // as a frame of its own
  if (gathered_ == 0) {
    protocol::Front room;
    const Bytes front = front_of(protocol::PublishBatch{sequence, 0, subject, {}}, room);
    batch_.reserve(kMostGatheredBytes + kLargestGathered);
    batch_.assign(front.begin(), front.end());
    batch_front_ = front.size();
  }
  unreceipted_.push_back({sequence, static_cast<std::uint32_t>(bytes), Level::accepted});
  const std::size_t at = batch_.size();
  batch_.resize(at + protocol::kItemSize + payload.size());  // no more than was reserved
  os::put_u16(batch_.data() + at, static_cast<std::uint16_t>(payload.size()));
  if (!payload.empty()) std::memcpy(batch_.data() + at + protocol::kItemSize, payload.data(), payload.size());
  ++gathered_;
  sequence_ = sequence;
  ++books_.published;
  unreceipted_bytes_ += bytes;
  if (gathered_ == kMostGathered || window_is_full()) static_cast<void>(send_gathered());
  return sequence;
}

bool Session::send_gathered() noexcept {
  if (gathered_ == 0) return true;
  protocol::set_count(batch_, gathered_);
  if (!waiting_.empty() || !events_.send(batch_, {})) return false;
  ++batches_;
  gathered_ = 0;
  return true;
}

void Session::send_retained(Retained& retained) {
  if (retained.level != Level::delivered) return;
  retained.sent = now_;
  put(retained.frame);
}

/// With a broker that is new: from the first one on. send_again() follows.
void Session::begin_again() noexcept {
  for (auto& [sequence, retained] : retained_) retained.is_again = false;
  again_open_ = again_bytes_ = 0;
  again_from_ = retained_.empty() ? 0 : retained_.begin()->first;
}

/// As much as its window takes; the rest when some of that is settled.
void Session::send_again() {
  while (again_from_ != 0 && !moving_) {
    const auto next = retained_.lower_bound(again_from_);
    if (next == retained_.end()) break;
    Retained& retained = next->second;
    const bool is_full = again_open_ >= limits_.window_messages || again_bytes_ + retained.bytes > limits_.window_bytes;
    if (again_open_ > 0 && is_full) return;
    send_retained(retained);
    ++again_open_;
    again_bytes_ += retained.bytes;
    retained.is_again = true;
    again_from_ = next->first + 1;
  }
  if (again_from_ == 0 || moving_) return;
  again_from_ = 0;
  for (auto& [token, question] : questions_) {  // these are about everything that came before them
    if (std::holds_alternative<protocol::Flush>(question.frame)) put(question.frame);
  }
  events_.window_open();
}

/// What the broker before took, and this one would not.
void Session::fail_too_large() {
  for (auto it = retained_.begin(); it != retained_.end();) {
    const Retained& retained = it->second;
    if (fits(retained.bytes, retained.content)) {
      ++it;
      continue;
    }
    if (!retained.counted) ++books_.unknown_after_crash;
    ++books_.undelivered[static_cast<std::size_t>(Reason::too_large)];
    ++books_.settled;
    const protocol::Outcome failed{it->first, 0, 1, Reason::too_large};
    retained_bytes_ -= retained.bytes;
    it = retained_.erase(it);
    events_.outcome(failed);
  }
}

void Session::on(const protocol::Receipt& receipt) {
  if (receipt.sequence < receipted_ || receipt.sequence > sequence_) return;  // an old one, late
  if (receipt.accepted < receipt_.accepted) return;
  const bool was_full = window_is_full();
  receipted_ = receipt.sequence;
  while (!unreceipted_.empty() && unreceipted_.front().sequence <= receipted_) {
    const Unreceipted& message = unreceipted_.front();
    if (message.level == Level::accepted) {
      ++receipted_plain_;
    } else if (const auto kept = retained_.find(message.sequence);
               reliable_ && kept != retained_.end() && !std::exchange(kept->second.counted, true)) {
      ++books_.accepted;
    }
    unreceipted_bytes_ -= message.bytes;
    unreceipted_.pop_front();
  }
  receipt_ = receipt;
  receipt_.accepted = std::min(receipt.accepted, receipted_plain_);
  after_window(was_full);
}

void Session::on(const protocol::Outcome& outcome) {
  const auto kept = retained_.find(outcome.sequence);
  if (kept == retained_.end()) return;  // told again
  const bool was_full = window_is_full();
  if (kept->second.level == Level::delivered) {
    if (outcome.failed > 0 || outcome.reached == 0) ++books_.undelivered[static_cast<std::size_t>(outcome.reason)];
    if (!kept->second.counted) ++books_.accepted;
    if (outcome.reached + outcome.failed == 0) ++books_.unreached;
  }
  retained_bytes_ -= kept->second.bytes;
  if (kept->second.is_again) {
    --again_open_;
    again_bytes_ -= kept->second.bytes;
  }
  retained_.erase(kept);
  ++books_.settled;
  events_.outcome(outcome);
  if (!leaving_) send_again();
  after_window(was_full);
}

void Session::after_window(bool was_full) noexcept {
  if (was_full && !window_is_full()) events_.window_open();
}

}  // namespace bus::client
