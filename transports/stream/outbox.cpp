// transports/stream/outbox.cpp: gathering, writing, and what the kernel did not take.
#include "transports/stream/outbox.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "bus/core/errc.hpp"
#include "bus/core/os/ticks.hpp"

namespace bus::stream {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kGather = std::size_t{128} << 10;       // source: README, "The sizes"
constexpr std::size_t kMostGathered = std::size_t{16} << 10;  // a larger payload is not copied
constexpr auto kGatheredFor = 200us;                          // and 50 us for the Flusher to get a CPU
constexpr auto kWithoutPolling = 10ms;                        // the next attempt when epoll has no memory

constexpr std::size_t kMostAround = kHeaderBytes;  // bytes of a frame that are not payload

constexpr std::byte kNewline{'\n'};

void* mutable_data(const std::byte* data) noexcept { return const_cast<std::byte*>(data); }  // iovec knows no const

}  // namespace

/// One frame as the kernel takes it: what stands before the payload, the payload, what stands behind it.
struct Outbox::Parts {
  std::array<std::byte, kHeaderBytes> header;
  std::array<iovec, 4> parts;
  std::size_t count = 0;
  std::size_t bytes = 0;

  void add(const std::byte* data, std::size_t size) noexcept {
    if (size == 0) return;
    parts[count++] = {mutable_data(data), size};
    bytes += size;
  }
  [[nodiscard]] std::span<const iovec> all() const noexcept { return std::span(parts).first(count); }

  Parts() noexcept = default;
  Parts(Framing framing, const Payload& payload) noexcept {
    if (framing == Framing::bus) {
      header = encode_header(static_cast<std::uint32_t>(payload.size()), Kind::message);
      add(header.data(), header.size());
    }
    add(payload.head.data(), payload.head.size());
    add(payload.tail.data(), payload.tail.size());
    if (framing == Framing::line) add(&kNewline, 1);
  }
  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;
};

Outbox::Outbox(Wire& wire, Framing framing, std::size_t capacity) noexcept
    : wire_(wire), framing_(framing), capacity_(capacity), gather_(std::min(capacity, kGather)), write_at_(gather_) {}

Outbox::~Outbox() {
  if (!origin_.inherited()) Flusher::forget(*this);
}

// ---- sending ----

std::error_code Outbox::send(std::span<const std::byte> payload) noexcept {
  if (!can_carry(framing_, payload)) return Errc::not_supported;
  const std::lock_guard lock(mutex_);
  if (stopped_) return stopped_;
  return send_locked({payload, {}}, Room::needed);
}

std::error_code Outbox::send_pieces(std::span<const std::byte> head, std::span<const std::byte> tail) noexcept {
  const std::lock_guard lock(mutex_);
  if (stopped_) return stopped_;
  if (const std::error_code error = find_room(head.size() + tail.size())) return error;
  return send_locked({head, tail}, Room::promised);
}

std::error_code Outbox::send_locked(const Payload& payload, Room room) noexcept {
  const std::uint64_t now = os::ticks();
  const bool burst = batch_ || now - last_send_ < os::kTicksOfABurst;
  if (burst && payload.size() <= kMostGathered &&
      pending() + payload.size() + kMostAround <= std::min(write_at_, capacity_)) {
    if (!gather(payload)) return Errc::no_room;
    ++accepted_;
    last_send_ = now;  // gathering takes no time worth a second look at the clock
    return {};
  }
  const Parts frame(framing_, payload);
  std::size_t taken = 0;
  if (const std::error_code error = write(frame, taken); error && error != Errc::would_block) return error;
  if (taken < frame.bytes) {
    // The kernel is full. A frame that it has a part of has to be kept whatever its size.
    if (taken == 0 && room == Room::needed && !admits(frame.bytes)) {
      last_send_ = os::ticks();
      return Errc::would_block;
    }
    if (!append(frame.all(), taken)) return taken == 0 ? make_error_code(Errc::no_room) : broken(ENOMEM);
  }
  ++accepted_;
  last_send_ = os::ticks();
  return {};
}

/// Copies one frame behind the others. False: no memory.
bool Outbox::gather(const Payload& payload) noexcept {
  if (!buffer_ || buffer_->capacity() - end_ < payload.size() + kMostAround) {
    if (!make_room(payload.size() + kMostAround)) return false;
  }
  const bool first = begin_ == end_;
  std::byte* to = buffer_->data() + end_;
  if (framing_ == Framing::bus) {
    const auto header = encode_header(static_cast<std::uint32_t>(payload.size()), Kind::message);
    to = std::copy(header.begin(), header.end(), to);
  }
  for (const std::span<const std::byte> piece : {payload.head, payload.tail}) {
    if (!piece.empty()) std::memcpy(to, piece.data(), piece.size());
    to += piece.size();
  }
  if (framing_ == Framing::line) *to++ = kNewline;
  end_ = static_cast<std::size_t>(to - buffer_->data());
  if (first) due_ = Clock::now() + kGatheredFor;
  note_held();
  if (!batch_) watch();
  return true;
}

std::error_code Outbox::send_counts(Kind kind, std::uint64_t received, std::uint64_t dropped) noexcept {
  const std::lock_guard lock(mutex_);
  if (broken_) return broken_;
  const auto bytes = encode_counts(kind, {accepted_, received, dropped});
  const iovec part{mutable_data(bytes.data()), bytes.size()};
  return append({&part, 1}, 0) ? std::error_code{} : broken(ENOMEM);
}

bool Outbox::admits(std::size_t bytes) const noexcept {
  return pending() == 0 ? bytes <= capacity_ : pending() <= capacity_ && bytes <= capacity_ - pending();
}

std::error_code Outbox::write(const Parts& frame, std::size_t& taken) noexcept {
  taken = 0;
  if (broken_) return broken_;
  std::array<iovec, 5> parts;
  std::size_t count = 0;
  const std::size_t held = pending();
  if (held > 0) parts[count++] = {buffer_->data() + begin_, held};
  for (const iovec& part : frame.all()) parts[count++] = part;
  if (count == 0) return {};  // an empty message of framing=raw
  const Transfer transfer = wire_.write(std::span(parts).first(count));
  if (transfer.state == Transfer::State::broken) return broken(transfer.error);
  const std::size_t of_held = std::min(transfer.count, held);
  took(of_held);
  taken = transfer.count - of_held;
  if (pending() == 0 && taken == frame.bytes) {
    write_at_ = gather_;
    return {};
  }
  // The kernel takes less than all only when it is full: the next attempt is worth its cost a little later.
  write_at_ = std::min(pending() + gather_, capacity_);
  due_ = Clock::now() + kGatheredFor;
  return Errc::would_block;
}

void Outbox::took(std::size_t bytes) noexcept {
  begin_ += bytes;
  if (begin_ == end_) begin_ = end_ = 0;
  note_held();
}

std::error_code Outbox::broken(int error) noexcept {
  broken_ = std::error_code(error, std::system_category());
  if (!stopped_) stopped_ = broken_;
  begin_ = end_ = 0;  // nobody can take it any more
  note_held();
  buffer_.reset();
  return broken_;
}

// ---- what is held ----

bool Outbox::make_room(std::size_t bytes) noexcept {
  if (buffer_ && buffer_->capacity() - end_ >= bytes) return true;
  const std::size_t held = pending();
  if (buffer_ && begin_ > 0 && buffer_->capacity() - held >= bytes) {
    std::memmove(buffer_->data(), buffer_->data() + begin_, held);
  } else {
    common::OwnedChunk larger(common::Chunk::take(buffer_ ? std::max(held + bytes, 2 * held) : bytes));
    if (!larger) return false;
    if (held > 0) std::memcpy(larger->data(), buffer_->data() + begin_, held);
    buffer_ = std::move(larger);
  }
  begin_ = 0;
  end_ = held;
  return true;
}

bool Outbox::append(std::span<const iovec> parts, std::size_t skip) noexcept {
  std::size_t bytes = 0;
  for (const iovec& part : parts) bytes += part.iov_len;
  if (bytes == skip) return true;
  if (!make_room(bytes - skip)) return false;
  const bool first = pending() == 0;
  for (const iovec& part : parts) {
    const std::size_t leave_out = std::min(skip, part.iov_len);
    skip -= leave_out;
    if (part.iov_len == leave_out) continue;
    std::memcpy(buffer_->data() + end_, static_cast<const std::byte*>(part.iov_base) + leave_out,
                part.iov_len - leave_out);
    end_ += part.iov_len - leave_out;
  }
  note_held();
  if (first) due_ = Clock::now() + kGatheredFor;
  if (!batch_) watch();
  return true;
}

std::error_code Outbox::flush_locked() noexcept {
  if (broken_) return broken_;
  if (pending() == 0) return {};
  std::size_t none = 0;
  const std::error_code error = write(Parts{}, none);
  if (!error) buffer_.reset();  // the pool lends another for the next burst
  return error;
}

std::error_code Outbox::flush() noexcept {
  const std::lock_guard lock(mutex_);
  const std::error_code error = flush_locked();
  if (error == Errc::would_block) watch();
  return error;
}

void Outbox::begin_batch() noexcept {
  const std::lock_guard lock(mutex_);
  batch_ = true;
}

void Outbox::end_batch() noexcept {
  const std::lock_guard lock(mutex_);
  batch_ = false;
  // A broken connection shows in the next call.
  if (flush_locked() == Errc::would_block) watch();
}

// ---- the Flusher ----

void Outbox::watch() noexcept {
  if (watched_ || tenders_ > 0) return;
  watched_ = Flusher::watch(*this, due_);
  // Without a Flusher nothing is left lying about. What the kernel does not take now leaves with the next call.
  if (!watched_) static_cast<void>(flush_locked());
}

void Outbox::on_due() noexcept {
  const std::lock_guard lock(mutex_);
  watched_ = false;
  const bool writable = std::exchange(for_room_, false);
  if (pending() == 0 || tenders_ > 0 || batch_) return;
  if (!writable && Clock::now() < due_) {
    watched_ = Flusher::watch(*this, due_);  // what was due has gone; this came since
    return;
  }
  if (flush_locked() != Errc::would_block) return;
  watched_ = for_room_ = Flusher::watch_writable(*this, wire_.fd());
  if (!watched_) watched_ = Flusher::watch(*this, Clock::now() + kWithoutPolling);
}

void Outbox::tend(bool begins) noexcept {
  const std::lock_guard lock(mutex_);
  tenders_ += begins ? 1 : -1;
  if (tenders_ > 0 || pending() == 0) return;
  due_ = Clock::now() + kGatheredFor;
  watch();
}

// ---- loans ----

/// For a message that will be kept, whatever the kernel takes of it.
std::error_code Outbox::find_room(std::size_t size) noexcept {
  const std::size_t frame = size + kHeaderBytes;
  if (pending() == 0 || admits(frame)) return {};
  if (const std::error_code error = flush_locked(); error && error != Errc::would_block) return error;
  if (pending() == 0 || admits(frame)) return {};
  watch();
  return Errc::would_block;
}

Result<std::span<std::byte>> Outbox::loan(std::size_t size) noexcept {
  const std::lock_guard lock(mutex_);
  if (stopped_) return stopped_;
  if (const std::error_code error = find_room(size)) return error;
  if (!loan_ || loan_->capacity() < size) {
    loan_.reset();
    loan_.reset(common::Chunk::take(size));
    if (!loan_) return Errc::no_room;
  }
  loan_size_ = size;
  return std::span(loan_->data(), size);
}

std::error_code Outbox::publish(std::size_t used) noexcept {
  const std::lock_guard lock(mutex_);
  std::error_code error = stopped_;
  const std::span<const std::byte> payload(loan_->data(), std::min(used, loan_size_));
  if (!error && !can_carry(framing_, payload)) error = Errc::not_supported;
  if (!error) error = send_locked({payload, {}}, Room::promised);
  loan_.reset();
  return error;
}

void Outbox::drop_loan() noexcept {
  const std::lock_guard lock(mutex_);
  loan_.reset();
}

// ---- the end ----

void Outbox::stop(std::error_code why) noexcept {
  const std::lock_guard lock(mutex_);
  if (!stopped_ || stopped_ == broken_) stopped_ = why;
}

std::uint64_t Outbox::accepted() noexcept {
  const std::lock_guard lock(mutex_);
  return accepted_;
}

}  // namespace bus::stream
