// transports/udp/outbound.cpp: numbering, gathering, runs of datagrams.
#include "transports/udp/outbound.hpp"

#include <netinet/in.h>
#include <netinet/udp.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "bus/core/fault_point.hpp"

namespace bus::udp {
namespace {

constexpr std::size_t kSegmentsBefore6_9 = 64;
constexpr std::size_t kKeptPending = std::size_t{4} << 20;  // a larger buffer is given back when it is empty

void* mutable_data(const std::byte* data) noexcept { return const_cast<std::byte*>(data); }  // iovec knows no const

enum class Failure : std::uint8_t { full, nobody, no_runs, lost };

// What an errno of a send means. `run`: it was a run of several datagrams.
Failure judge(int error, bool run) noexcept {
  if (error == EAGAIN || error == EWOULDBLOCK) return Failure::full;
  if (error == ECONNREFUSED) return Failure::nobody;
  if (run && (error == EINVAL || error == EIO || error == EOPNOTSUPP || error == EMSGSIZE)) return Failure::no_runs;
  // No route, a filter, no memory in the driver's queue: this datagram is gone, and the receiver will count it.
  return Failure::lost;
}

}  // namespace

// Up to kRuns runs for one sendmmsg.
class Outbound::Burst {
 public:
  void add(::iovec* parts, std::size_t count, std::size_t segment, bool run) noexcept {
    ::msghdr& message = messages_[count_].msg_hdr;
    message = {};
    message.msg_iov = parts;
    message.msg_iovlen = count;
    if (run) {
      Control& control = controls_[count_];
      message.msg_control = control.bytes;
      message.msg_controllen = sizeof control.bytes;
      ::cmsghdr* const item = CMSG_FIRSTHDR(&message);
      item->cmsg_level = IPPROTO_UDP;
      item->cmsg_type = UDP_SEGMENT;
      item->cmsg_len = CMSG_LEN(sizeof(std::uint16_t));
      const auto size = static_cast<std::uint16_t>(segment);
      std::memcpy(CMSG_DATA(item), &size, sizeof size);
    }
    ++count_;
  }
  [[nodiscard]] bool is_run(std::size_t i) const noexcept { return messages_[i].msg_hdr.msg_controllen != 0; }
  [[nodiscard]] std::size_t size() const noexcept { return count_; }

  [[nodiscard]] Sent send(int fd, std::size_t from) noexcept {
    for (;;) {
      BUS_FAULT_POINT();
      int count;
      if (count_ - from == 1) {
        count = ::sendmsg(fd, &messages_[from].msg_hdr, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -1 : 1;
      } else {
        count = ::sendmmsg(fd, &messages_[from], static_cast<unsigned>(count_ - from), MSG_DONTWAIT | MSG_NOSIGNAL);
      }
      if (count >= 0) return {.count = static_cast<std::size_t>(count), .error = 0};
      if (errno != EINTR) return {.count = 0, .error = errno};
    }
  }

 private:
  union Control {
    ::cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(std::uint16_t))];
  };
  std::size_t count_ = 0;
  std::array<::mmsghdr, kRuns> messages_;  // written by add(), as far as count_
  std::array<Control, kRuns> controls_;
};

Outbound::Outbound(const Setup& setup)
    : fd_(setup.fd),
      session_(setup.session),
      max_datagram_(setup.max_datagram),
      most_payload_(setup.max_datagram - kHeaderBytes),
      window_(setup.window),
      first_(setup.start.sequence),
      sequence_(setup.start.sequence),
      datagram_(setup.start.datagram),
      position_(setup.start.position),
      most_segments_(kMostSegments),
      gathered_(kGatherBytes) {}

Outbound::Outcome Outbound::send(std::span<const std::byte> payload, std::uint64_t taken, bool gather,
                                 bool promised) noexcept {
  if (pending_ && !promised) {
    const Outcome outcome = flush(taken);
    if (outcome != Outcome::done) return outcome;
  }
  if (!promised && !has_room(payload.size(), taken)) {
    wait_for(payload.size());
    return Outcome::no_window;
  }
  const bool small = payload.size() <= std::min(kMostGathered, most_payload_);
  if (gather && small && !pending_) {
    if (append(payload)) return Outcome::done;
    const Outcome outcome = flush_gathered();
    if (outcome == Outcome::nobody) return outcome;
    if (append(payload)) return Outcome::done;
    if (!promised) return Outcome::no_buffer;
  }
  if (runs_ > 0) {
    const Outcome outcome = flush_gathered();
    if (outcome == Outcome::nobody || (outcome != Outcome::done && !promised)) return outcome;
  }
  if (idle() && payload.size() <= most_payload_) {
    const Outcome outcome = send_single(payload);
    if (outcome != Outcome::no_buffer || !promised) return outcome;
  }
  // In parts. What does not leave now is kept.
  std::size_t offset = 0;
  const std::uint64_t sequence = sequence_++;
  bool any = false;
  Outcome outcome = Outcome::no_buffer;
  if (idle()) outcome = send_parts(sequence, payload, offset, taken, any);
  if (outcome == Outcome::done) return outcome;
  if (outcome == Outcome::nobody || (outcome == Outcome::no_buffer && !any && !promised)) {
    if (!any) --sequence_;
    return outcome;
  }
  try {
    pending_message_.assign(payload.begin(), payload.end());
  } catch (const std::bad_alloc&) {
    // A part of it may have left: the receiver will count the message as missing.
    return any ? Outcome::done : (--sequence_, Outcome::no_memory);
  }
  pending_ = true;
  pending_sequence_ = sequence;
  pending_offset_ = offset;
  return Outcome::done;
}

Outbound::Outcome Outbound::flush(std::uint64_t taken) noexcept {
  if (runs_ > 0) {
    const Outcome outcome = flush_gathered();
    if (outcome != Outcome::done) return outcome;
  }
  if (!pending_) return Outcome::done;
  bool any = false;
  const Outcome outcome = send_parts(pending_sequence_, pending_message_, pending_offset_, taken, any);
  if (outcome != Outcome::done) return outcome;
  pending_ = false;
  if (pending_message_.capacity() > kKeptPending) std::vector<std::byte>().swap(pending_message_);
  return Outcome::done;
}

bool Outbound::has_room(std::size_t payload_bytes, std::uint64_t taken) const noexcept {
  if (pending_) return false;
  const std::uint64_t cost = cost_of(payload_bytes);
  if (cost <= room(taken)) return true;
  return may_go_in_parts(cost) && window_cost(max_datagram_) <= room(taken);
}

void Outbound::wait_for(std::size_t payload_bytes) noexcept {
  const std::uint64_t cost = cost_of(payload_bytes);
  needs_ = may_go_in_parts(cost) ? window_cost(max_datagram_) : cost;
}

bool Outbound::could_go_on(std::uint64_t taken) const noexcept { return window_ == 0 || needs_ <= room(taken); }

void Outbound::discard() noexcept {
  first_run_ = runs_ = 0;
  gathered_bytes_ = 0;
  pending_ = false;
}

Header Outbound::mark(Kind kind) const noexcept {
  // What is gathered has its numbers, but has not been sent: callers flush first. A pending message is not counted:
  // it is the one that will follow.
  return {.kind = kind,
          .session = session_,
          .sequence = pending_ ? pending_sequence_ : sequence_,
          .datagram = static_cast<std::uint32_t>(datagram_),
          .position = static_cast<std::uint32_t>(position_)};
}

std::uint64_t Outbound::cost_of(std::size_t payload_bytes) const noexcept {
  if (payload_bytes <= most_payload_) return window_cost(kHeaderBytes + payload_bytes);
  const std::size_t full = payload_bytes / most_payload_;
  const std::size_t rest = payload_bytes % most_payload_;
  return full * window_cost(max_datagram_) + (rest > 0 ? window_cost(kHeaderBytes + rest) : 0);
}

std::uint64_t Outbound::room(std::uint64_t taken) const noexcept {
  if (window_ == 0) return ~std::uint64_t{0};
  const std::uint64_t used = position_ - taken;
  return used < window_ ? window_ - used : 0;
}

void Outbound::number(Header& header, std::size_t payload_bytes) noexcept {
  position_ += window_cost(kHeaderBytes + payload_bytes);
  header.datagram = static_cast<std::uint32_t>(datagram_++);
  header.position = static_cast<std::uint32_t>(position_);
}

bool Outbound::append(std::span<const std::byte> payload) noexcept {
  const std::size_t bytes = kHeaderBytes + payload.size();
  if (gathered_bytes_ + bytes > gathered_.size()) return false;
  Run* run = runs_ > 0 ? &run_[first_run_ + runs_ - 1] : nullptr;
  // The last datagram of a run may be smaller, and then ends it.
  const bool joins = run != nullptr && run->bytes == run->segment * run->count && bytes <= run->segment &&
                     run->count < most_segments_ && run->bytes + bytes <= kMostDatagram;
  if (!joins && first_run_ + runs_ == kRuns) return false;
  Header header{.kind = Kind::data,
                .session = session_,
                .sequence = sequence_++,
                .message_bytes = static_cast<std::uint32_t>(payload.size())};
  number(header, payload.size());
  std::byte* const at = gathered_.data() + gathered_bytes_;
  if (!payload.empty()) std::memcpy(at + kHeaderBytes, payload.data(), payload.size());
  encode(header, {at + kHeaderBytes, payload.size()}, std::span<std::byte, kHeaderBytes>(at, kHeaderBytes));
  if (joins) {
    run->bytes += bytes;
    ++run->count;
  } else {
    run_[first_run_ + runs_++] = {.offset = gathered_bytes_, .bytes = bytes, .segment = bytes, .count = 1};
  }
  gathered_bytes_ += bytes;
  return true;
}

Outbound::Outcome Outbound::flush_gathered() noexcept {
  while (runs_ > 0) {
    Burst burst;
    std::array<::iovec, kRuns> parts;
    for (std::size_t i = 0; i < runs_ && burst.size() < kRuns; ++i) {
      Run& run = run_[first_run_ + i];
      // Fewer segments than there are, if the kernel turned out to want that: the rest of the run follows.
      const std::size_t count = std::min(run.count, most_segments_);
      const std::size_t bytes = count == run.count ? run.bytes : count * run.segment;
      parts[i] = {mutable_data(gathered_.data() + run.offset), bytes};
      burst.add(&parts[i], 1, run.segment, count > 1);
      if (count < run.count) break;
    }
    const Sent sent = burst.send(fd_, 0);
    std::size_t gone = sent.count;
    if (gone == 0) {
      switch (judge(sent.error, burst.is_run(0))) {
        case Failure::full:
          return Outcome::no_buffer;
        case Failure::nobody:
          return Outcome::nobody;
        case Failure::no_runs:
          if (lower_segments()) continue;
          [[fallthrough]];
        case Failure::lost:
          gone = 1;
      }
    }
    for (std::size_t i = 0; i < gone; ++i) {
      Run& run = run_[first_run_];
      if (parts[i].iov_len == run.bytes) {
        ++first_run_;
        --runs_;
      } else {
        run.offset += parts[i].iov_len;
        run.bytes -= parts[i].iov_len;
        run.count -= parts[i].iov_len / run.segment;
      }
    }
  }
  first_run_ = 0;
  gathered_bytes_ = 0;
  return Outcome::done;
}

Outbound::Outcome Outbound::send_single(std::span<const std::byte> payload) noexcept {
  Header header{.kind = Kind::data,
                .session = session_,
                .sequence = sequence_,
                .message_bytes = static_cast<std::uint32_t>(payload.size())};
  const std::uint64_t position = position_;
  number(header, payload.size());
  encode(header, payload, headers_[0]);
  std::array<::iovec, 2> parts{::iovec{headers_[0].data(), kHeaderBytes},
                               ::iovec{mutable_data(payload.data()), payload.size()}};
  ::msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = payload.empty() ? 1 : 2;
  for (;;) {
    BUS_FAULT_POINT();
    if (::sendmsg(fd_, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) break;
    if (errno == EINTR) continue;
    const Failure failure = judge(errno, false);
    if (failure == Failure::lost) break;
    --datagram_;
    position_ = position;
    return failure == Failure::full ? Outcome::no_buffer : Outcome::nobody;
  }
  ++sequence_;
  return Outcome::done;
}

Outbound::Outcome Outbound::send_parts(std::uint64_t sequence, std::span<const std::byte> message, std::size_t& offset,
                                       std::uint64_t taken, bool& any) noexcept {
  struct Mark {
    std::uint64_t datagram, position;
    std::size_t offset;
  };
  bool first = offset == 0;  // an empty message is one datagram, too
  while (first || offset < message.size()) {
    Burst burst;
    std::array<::iovec, 2 * kMostSegments> parts;
    std::array<Mark, kRuns> before{};
    std::size_t headers = 0;
    std::size_t at = offset;
    bool more = true;
    while (more && burst.size() < kRuns && headers < kMostSegments) {
      const std::size_t begin = headers;
      const Mark mark{.datagram = datagram_, .position = position_, .offset = at};
      std::size_t bytes = 0;
      while (more && headers < kMostSegments && headers - begin < most_segments_) {
        const auto payload = message.subspan(at, std::min(most_payload_, message.size() - at));
        if (bytes + kHeaderBytes + payload.size() > kMostDatagram) break;  // the run is as long as may be
        if (window_cost(kHeaderBytes + payload.size()) > room(taken)) {
          needs_ = window_cost(kHeaderBytes + payload.size());
          more = false;
          break;
        }
        Header header{.kind = Kind::data,
                      .session = session_,
                      .sequence = sequence,
                      .message_bytes = static_cast<std::uint32_t>(message.size()),
                      .offset = static_cast<std::uint32_t>(at)};
        number(header, payload.size());
        encode(header, payload, headers_[headers]);
        parts[2 * headers] = {headers_[headers].data(), kHeaderBytes};
        parts[2 * headers + 1] = {mutable_data(payload.data()), payload.size()};
        ++headers;
        bytes += kHeaderBytes + payload.size();
        at += payload.size();
        more = at < message.size();
      }
      if (headers == begin) break;
      before[burst.size()] = mark;
      burst.add(&parts[2 * begin], 2 * (headers - begin), max_datagram_, headers - begin > 1);
    }
    if (burst.size() == 0) return Outcome::no_window;

    for (std::size_t gone = 0; gone < burst.size();) {
      const Sent sent = burst.send(fd_, gone);
      gone += sent.count;
      if (sent.count > 0) {
        any = true;
        continue;
      }
      const Failure failure = judge(sent.error, burst.is_run(gone));
      if (failure == Failure::lost) {
        any = true;
        ++gone;
        continue;
      }
      // What has not left gets its numbers anew.
      datagram_ = before[gone].datagram;
      position_ = before[gone].position;
      offset = at = before[gone].offset;
      if (failure == Failure::full) return Outcome::no_buffer;
      if (failure == Failure::nobody) return Outcome::nobody;
      if (!lower_segments()) return Outcome::nobody;
      break;
    }
    offset = at;
    first = false;
  }
  return Outcome::done;
}

bool Outbound::lower_segments() noexcept {
  if (most_segments_ == 1) return false;
  most_segments_ = most_segments_ > kSegmentsBefore6_9 ? kSegmentsBefore6_9 : 1;
  return true;
}

}  // namespace bus::udp
