// tools/measure/loops.hpp: what happens in the timed part: the clock, the calls that are measured, and a count.
//
// Each loop is a template over the End, so that nothing but the end's own calls is between two readings of the clock.
// A sample of a closed loop lasts from one reading to the next: its recording (see `sample cost` in the manifest) is in
// it.
#pragma once

#include <ctime>

#include <algorithm>
#include <string>
#include <vector>

#include "bus/core/wait.hpp"
#include "tools/measure/ends/view.hpp"
#include "tools/measure/job.hpp"
#include "tools/measure/sampler.hpp"

namespace bus::tools::measure {

/// Fewer samples say nothing: the repetition is invalid.
inline constexpr std::uint64_t kFewSamples = 100;

/// A warm-up has so many messages, however short it is.
inline constexpr std::uint64_t kWarmUpMessages = 20;

/// What a loop works with. `start` is an instant of CLOCK_MONOTONIC at which all roles begin.
struct Work {
  const Job& job;
  SampleClock clock;
  std::uint64_t start = 0;
};

/// The usage of the process between the first and the last timed message; with that of the broker, if it is given.
class TimedUsage {
 public:
  explicit TimedUsage(int broker_pid = 0) noexcept : broker_pid_(broker_pid) {}
  void begin() { before_ = now(); }
  void end(Findings& findings) const {
    const Usage used = now().since(before_);
    findings.cpu_ns = used.cpu_ns;
    findings.voluntary_switches = used.voluntary;
    findings.involuntary_switches = used.involuntary;
    findings.page_faults = used.faults;
  }

 private:
  [[nodiscard]] Usage now() const {
    return broker_pid_ == 0 ? Usage::now() : Usage::of(broker_pid_).with(Usage::now());
  }

  const int broker_pid_;
  Usage before_;
};

/// Counts what arrives from one sender. Of the newest 64 it knows which were there, so that late and twice can be told.
class SequenceCheck {
 public:
  void take(std::uint64_t sequence, Findings& findings) noexcept {
    if (sequence == next_) [[likely]] {
      seen_ = seen_ << 1 | 1;
      ++next_;
      return;
    }
    if (sequence > next_) {  // what is missing shows in the sum of received messages
      const std::uint64_t ahead = sequence - next_ + 1;
      seen_ = (ahead < 64 ? seen_ << ahead : 0) | 1;
      next_ = sequence + 1;
      return;
    }
    const std::uint64_t age = next_ - 1 - sequence;
    const std::uint64_t bit = age < 64 ? std::uint64_t{1} << age : 0;
    ++(age >= 64 || (seen_ & bit) == 0 ? findings.reordered : findings.duplicates);
    seen_ |= bit;
  }

 private:
  std::uint64_t next_ = 0;
  std::uint64_t seen_ = 0;  // bit i: message next_ - 1 - i
};

/// The rate of what arrives, slice by slice.
class RateSlices {
 public:
  RateSlices(std::uint64_t timed_ns, std::uint64_t size)
      : slice_ns_(std::max<std::uint64_t>(timed_ns / Sampler::kSlices, 1'000'000)), mask_(size >= 4096 ? 0 : 255) {}

  void begin(std::uint64_t now) noexcept { begin_ = last_ = now; }
  void count(std::uint64_t messages, const SampleClock& clock, Findings& findings) {
    if ((messages & mask_) != 0) return;
    const std::uint64_t now = clock.now();
    if (now - last_ < slice_ns_ || findings.timeline.size() >= 4 * Sampler::kSlices) return;
    findings.timeline.push_back({static_cast<double>(last_ - begin_) / 1e9, static_cast<double>(now - last_) / 1e9,
                                 messages - counted_, 0, 0, 0});
    counted_ = messages;
    last_ = now;
  }

 private:
  const std::uint64_t slice_ns_, mask_;
  std::uint64_t begin_ = 0, last_ = 0, counted_ = 0;
};

inline void sleep_until_start(std::uint64_t start) noexcept {
  const timespec at{static_cast<time_t>(start / 1'000'000'000), static_cast<long>(start % 1'000'000'000)};
  while (::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr) == EINTR) {
  }
}

/// A handicap: so much time passes, by the clock.
inline void lose(const SampleClock& clock, std::uint64_t delay) noexcept {
  if (delay == 0) return;
  for (const std::uint64_t until = clock.now() + delay; clock.now() < until;) {
  }
}

/// Reads a message as the job says. False: it is not what was sent.
inline bool read_message(std::span<const std::byte> bytes, std::uint64_t sequence, const Job& job,
                         Body& body) noexcept {
  return job.copy ? body.copy_and_read(bytes, sequence, job.touch) : body.read(bytes, sequence, job.touch);
}

// ---- closed: ping-pong ----

template <class End>
void ping(End& end, const Work& work, Body& body, Findings& found) {
  const Job& job = work.job;
  const auto message = body.message(job.size);
  Sampler sampler(job.timed_ns, job.wait == "spin");
  const auto round = [&](Phase phase) {
    stamp(message.data(), {found.sent, phase});
    body.mark(message, found.sent);
    View view;
    if (!end.send(message)) return false;
    ++found.sent;
    if (!end.receive(view)) return false;
    lose(work.clock, job.delay_ns);
    ++found.received;
    if (view.bytes.size() != message.size() || !read_message(view.bytes, found.sent - 1, job, body) ||
        (job.touch != Touch::none && read_stamp(view.bytes.data()).sequence != found.sent - 1)) {
      ++found.damaged;
    }
    return true;
  };
  bool whole = true;
  const std::uint64_t warm = work.clock.now() + job.warm_up_ns;
  do {
    whole = round(Phase::warm_up);
  } while (whole && (work.clock.now() < warm || found.sent < kWarmUpMessages));

  TimedUsage usage(job.broker_pid);
  usage.begin();
  const std::uint64_t begin = work.clock.now(), stop = begin + job.timed_ns;
  sampler.begin(begin);
  std::uint64_t last = begin;
  // A slow crossing goes on until it has enough samples to say anything, ten times as long at most. The times of a
  // traced one are not used.
  const std::uint64_t latest = job.trace ? stop : begin + 10 * job.timed_ns;
  const auto wants_more = [&] {
    if (job.most_messages != 0 && found.messages >= job.most_messages) return false;
    return last < stop || (found.messages < kFewSamples && last < latest);
  };
  while (whole && wants_more()) {
    whole = round(Phase::timed);
    const std::uint64_t now = work.clock.now();
    if (now < last) ++found.clock_back;
    sampler.add(now, now - last);
    last = now;
    ++found.messages;
  }
  usage.end(found);
  found.seconds = static_cast<double>(last - begin) / 1e9;
  found.bytes = found.messages * job.size;
  if (whole) whole = round(Phase::end);
  if (!whole) found.failure = end.failure();
  sampler.report("rtt", found);
}

/// The far end of ping(), and what an open loop's answers come from.
template <class End>
void echo(End& end, const Work& work, Body& body, Findings& found) {
  const Job& job = work.job;
  TimedUsage usage;
  Phase phase = Phase::warm_up;
  View view;
  while (phase != Phase::end) {
    if (!end.receive(view)) break;
    ++found.received;
    if (view.bytes.size() < kCountHeader) {
      ++found.damaged;
      break;
    }
    const Stamp what = read_stamp(view.bytes.data());
    if (!read_message(view.bytes, what.sequence, job, body)) ++found.damaged;
    const Phase now = what.phase;
    if (now == Phase::timed && phase == Phase::warm_up) usage.begin();
    if (now == Phase::end && phase == Phase::timed) usage.end(found);
    if (now != phase) phase = now;
    if (!end.send(view.bytes)) break;
    ++found.sent;
  }
  static_cast<void>(end.flush());
  if (phase != Phase::end) found.failure = end.failure();
}

// ---- flood: a plain loop of send against a plain loop of receive ----

/// Sends one message, or a batch of them, in the way that the job says.
template <class End>
class Sender {
 public:
  Sender(End& end, const Job& job, Body& body) : end_(end), job_(job), body_(body), message_(body.message(job.size)) {
    if (job.batch > 1) {
      copies_.resize(job.batch);
      for (auto& copy : copies_) {
        copy.assign(message_.begin(), message_.end());
        spans_.emplace_back(copy);
      }
    }
  }

  [[nodiscard]] bool send(Phase phase, std::uint64_t& sent) {
    if constexpr (End::kLoans) {
      if (job_.loan) {
        return end_.send_in_place(job_.size, [&](std::span<std::byte> room) {
          std::memcpy(room.data(), message_.data(), message_.size());
          write(room, phase, sent++);
        });
      }
    }
    if constexpr (End::kBatches) {
      if (job_.batch > 1 && phase != Phase::end) {
        for (auto& copy : copies_) write(copy, phase, sent++);
        return end_.send_batch(spans_);
      }
    }
    write(message_, phase, sent++);
    return end_.send(message_);
  }

 private:
  void write(std::span<std::byte> message, Phase phase, std::uint64_t sequence) noexcept {
    stamp(message.data(), {sequence, phase});
    body_.mark(message, sequence);
  }

  End& end_;
  const Job& job_;
  Body& body_;
  std::span<std::byte> message_;
  std::vector<std::vector<std::byte>> copies_;
  std::vector<std::span<const std::byte>> spans_;
};

template <class End>
void flood(End& end, const Work& work, Body& body, Findings& found) {
  const Job& job = work.job;
  // The clock is read so seldom that it costs nothing, and so often that the end is met to some 10 us.
  const std::uint64_t between = std::clamp<std::uint64_t>(65536 / job.size, 1, 64);
  Sender<End> sender(end, job, body);
  bool whole = true;
  const auto run_until = [&](Phase phase, std::uint64_t stop) {
    do {
      for (std::uint64_t i = 0; i < between && whole; ++i) {
        lose(work.clock, job.delay_ns);
        whole = sender.send(phase, found.sent);
      }
    } while (whole && work.clock.now() < stop && (job.most_messages == 0 || found.sent < job.most_messages));
  };
  run_until(Phase::warm_up, work.clock.now() + job.warm_up_ns);
  TimedUsage usage(job.broker_pid);
  usage.begin();
  const std::uint64_t begin = work.clock.now(), before = found.sent;
  run_until(Phase::timed, begin + job.timed_ns);
  usage.end(found);
  found.seconds = static_cast<double>(work.clock.now() - begin) / 1e9;
  found.messages = found.sent - before;
  if (whole) whole = sender.send(Phase::end, found.sent);
  if (whole) whole = end.flush();
  if (!whole) found.failure = end.failure();
}

/// Counts from the moment when all senders are in their timed part to that when the first of them ends.
template <class End>
void sink(End& end, const Work& work, Body& body, Findings& found) {
  const Job& job = work.job;
  std::vector<SequenceCheck> checks(job.producers);
  std::vector<Phase> phases(job.producers, Phase::warm_up);
  std::uint64_t warming = job.producers, sending = job.producers;
  TimedUsage usage;
  std::uint64_t begin = 0;
  bool counting = false;
  RateSlices slices(job.timed_ns, job.size);
  found.timeline.reserve(4 * Sampler::kSlices);
  View view;
  while (sending > 0) {
    if (!end.receive(view)) {
      found.failure = end.failure();
      break;
    }
    ++found.received;
    const auto size = view.bytes.size();
    if (size < kCountHeader) {
      ++found.damaged;
      continue;
    }
    const Stamp what = read_stamp(view.bytes.data());
    if (!read_message(view.bytes, what.sequence, job, body)) ++found.damaged;
    checks[view.from].take(what.sequence, found);
    if (what.phase == Phase::timed && counting) [[likely]] {
      ++found.messages;
      found.bytes += size;
      slices.count(found.messages, work.clock, found);
      continue;
    }
    Phase& phase = phases[view.from];
    if (what.phase != Phase::warm_up && phase == Phase::warm_up && --warming == 0) {
      counting = true;
      usage.begin();
      begin = work.clock.now();
      slices.begin(begin);
    }
    if (what.phase == Phase::end) {
      if (counting) {
        counting = false;
        found.seconds = static_cast<double>(work.clock.now() - begin) / 1e9;
        usage.end(found);
      }
      --sending;
    }
    phase = what.phase;
  }
}

// ---- open: each message is due at its own time ----

template <class End>
void offer(End& end, const Work& work, Body& body, Findings& found) {
  const Job& job = work.job;
  Schedule schedule(job.arrivals);
  Sampler lag(job.timed_ns);
  TimedUsage usage;
  const std::uint64_t start = work.clock.now();
  const std::uint64_t timed = start + job.warm_up_ns, stop = timed + job.timed_ns;
  bool whole = true, began = false;
  std::uint64_t now = start;
  while (whole) {
    const Schedule::Due due = schedule.next();
    const std::uint64_t at = start + due.at;
    if (at >= stop) break;
    const bool counts = at >= timed;
    if (counts && !began) {
      began = true;
      usage.begin();
      lag.begin(timed);
    }
    if (counts) ++found.offered;
    now = work.clock.now();
    if (now >= stop && job.arrivals.kind != Arrivals::Kind::trace) {
      // The backlog will not be sent any more: what is due is counted, and missing.
      found.offered += static_cast<std::uint64_t>(static_cast<double>(stop - at) * job.arrivals.rate / 1e9);
      break;
    }
    if (now >= stop) continue;
    for (Spinner spinner(WaitMode::spin); now < at; now = work.clock.now()) {
      if (at - now > 100'000) {
        sleep_until_start(at - 60'000);  // a wake takes some 10 us, and up to 50 more by the timer's slack
      } else {
        static_cast<void>(spinner.turn());
      }
    }
    const auto message = body.message(due.size == 0 ? job.size : due.size);
    stamp(message.data(), {found.sent, counts ? Phase::timed : Phase::warm_up});
    store_word(message.data() + 8, at);
    store_word(message.data() + 16, now);
    body.mark(message, found.sent);
    whole = end.send(message);
    ++found.sent;
    if (!counts) continue;
    ++found.messages;
    lag.add(now, now - at);
  }
  usage.end(found);
  found.seconds = static_cast<double>(job.timed_ns) / 1e9;
  const auto message = body.message(std::max<std::uint64_t>(job.size, kTimeHeader));
  stamp(message.data(), {found.sent, Phase::end});
  body.mark(message, found.sent);
  if (whole) whole = end.send(message) && end.flush();
  ++found.sent;
  if (!whole) found.failure = end.failure();
  lag.report("send_lag", found);
  found.timeline.clear();  // the receiver's are those of the messages
  found.worst.clear();
}

template <class End>
void take_open(End& end, const Work& work, Body& body, Findings& found) {
  const Job& job = work.job;
  SequenceCheck check;
  Sampler response(job.timed_ns), service(job.timed_ns);
  TimedUsage usage;
  bool began = false;
  std::uint64_t first_due = 0;
  View view;
  for (;;) {
    if (!end.receive(view)) {
      found.failure = end.failure();
      break;
    }
    ++found.received;
    if (view.bytes.size() < kTimeHeader) {
      ++found.damaged;
      continue;
    }
    const Stamp what = read_stamp(view.bytes.data());
    if (!read_message(view.bytes, what.sequence, job, body)) ++found.damaged;
    const std::uint64_t now = work.clock.now();
    check.take(what.sequence, found);
    if (what.phase == Phase::end) break;
    if (what.phase != Phase::timed) continue;
    const std::uint64_t due = load_word(view.bytes.data() + 8), sent = load_word(view.bytes.data() + 16);
    if (!began) {
      began = true;
      first_due = due;
      usage.begin();
      response.begin(due);
      service.begin(due);
    }
    if (now < sent) {
      ++found.clock_back;
      continue;
    }
    ++found.messages;
    found.bytes += view.bytes.size();
    response.add(now, now - due);
    service.add(now, now - sent);
    found.seconds = static_cast<double>(now - first_due) / 1e9;
  }
  if (began) usage.end(found);
  service.report("service", found);
  found.timeline.clear();
  found.worst.clear();
  response.report("response", found);
}

}  // namespace bus::tools::measure
