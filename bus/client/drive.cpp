// bus/client/drive.cpp: a node's thread and its connection; who waits, drives.
#include <algorithm>
#include <array>
#include <random>

#include "bus/client/node_state.hpp"

namespace bus::client {

using namespace std::chrono_literals;

namespace {

// Before the second attempt to connect, doubled up to the longest; each with a random part, so that nodes do not come
// back all at once. Half as much again as the longest is less than the time for which a new broker gathers its nodes.
constexpr auto kFirstPause = 5ms;
constexpr auto kLongestPause = 75ms;
constexpr auto kAttempt = 500ms;  // for somebody who listens to accept: it may be on its way down
constexpr auto kWelcome = 5s;     // for the broker to answer a hello
constexpr auto kRoomAgain = 1ms;  // a channel without room is asked again, where nothing better can be had
// After a caller has driven, before the node's thread does: twice as long each time that callers go on driving. A host
// with a hundred nodes would do little else than look whether they do.
constexpr auto kLease = 2ms;
constexpr auto kLongestLease = 16ms;
constexpr std::size_t kReadsInARow = 64;

}  // namespace

void NodeState::work() {
  auto pause_for = std::chrono::nanoseconds(kFirstPause);
  std::mt19937_64 random(session.publisher());
  for (;;) {
    {
      const std::lock_guard lock(mutex);
      if (stopping || closed_for_good || session.said_farewell()) return;
    }
    if (connect_once()) {
      serve_connection();
      const bool was_up = lose_connection();
      if (was_up) {  // it worked: try again at once
        pause_for = kFirstPause;
        continue;
      }
    }
    const auto jitter = std::chrono::nanoseconds(random() % static_cast<std::uint64_t>(pause_for.count()));
    pause(pause_for / 2 + jitter);
    pause_for = std::min<std::chrono::nanoseconds>(pause_for * 2, kLongestPause);
  }
}

void NodeState::pause(std::chrono::nanoseconds length) {
  std::unique_lock lock(mutex);
  changed.wait_until(lock, in(length), [this] { return stopping || closed_for_good; });
}

/// One attempt. Where a node may host the broker and nobody does, this one does: listening decides who.
bool NodeState::connect_once() {
  try {
    Channel made;
    try {
      made = reach(address.channel, in(kAttempt));
    } catch (const Error& error) {
      if (error.code() != Errc::no_peer || !address.may_host) throw;
      host_anew();
      made = reach(address.channel, in(kAttempt));
    }
    const Traits traits = made.traits();
    const std::lock_guard lock(mutex);
    channel = std::move(made);
    channel.stay_awake(Patience::kStayAwake);
    open = true;
    lost = hang_up_asked = armed = false;
    room_wanted = 0;
    welcome_until = in(kWelcome);
    poller.add(channel, 0);
    session.connected(traits.reliable, traits.max_message, Clock::now());
    return true;
  } catch (const Error& error) {
    const std::lock_guard lock(mutex);
    last_error = error.code();
    last_text = error.what();
    for (const Errc mended_by_no_waiting : {Errc::bad_address, Errc::permission_denied, Errc::version_mismatch}) {
      if (error.code() == mended_by_no_waiting) close_for_good(mended_by_no_waiting, last_text);
    }
    return false;
  }
}

/// Without the mutex: a broker that stops says farewell first, also to this node.
void NodeState::host_anew() {
  std::unique_ptr<Host> now_gone;
  {
    const std::lock_guard lock(mutex);
    now_gone = std::move(host);
  }
  now_gone.reset();
  auto mine = Host::try_start(address.channel);
  const std::lock_guard lock(mutex);
  host = std::move(mine);
}

/// Until the connection is over: drives whenever no caller does.
void NodeState::serve_connection() {
  std::unique_lock lock(mutex);
  for (;;) {
    stand_by(lock);
    if (connection_is_over()) break;
    drive(lock, forever, [this] { return thread_wanted; });
    thread_wanted = false;
    pass_on();
    if (!connection_is_over()) hand_over.wait_until(lock, in(kLease));
  }
  hand_over.wait(lock, [this] { return !driving; });
}

/// Until no caller drives and none has for a lease. While one sleeps in there this thread does, too, and does not look.
void NodeState::stand_by(std::unique_lock<std::mutex>& lock) {
  auto lease = kLease;
  for (std::uint64_t seen = 0; !connection_is_over();) {
    if (!driving && (drives == seen || !callers_drive)) return;
    if (driving && drives == seen) {
      standing_by = true;
      hand_over.wait(lock);
      standing_by = false;
      seen = drives - 1;  // who has just stopped may begin again
    } else {
      seen = drives;
      hand_over.wait_until(lock, in(lease));
      lease = std::min(2 * lease, kLongestLease);
    }
  }
}

/// Nobody drives any longer: the next who waits does, else the node's thread.
void NodeState::pass_on() noexcept {
  if (!followers.empty() && open && !connection_is_over()) {
    followers.front()->notify_all();
  } else if (standing_by || connection_is_over()) {
    hand_over.notify_one();
  }
}

bool NodeState::wait(std::unique_lock<std::mutex>& lock, Deadline deadline, const Condition& done) {
  return wait(lock, deadline, done, changed);
}

bool NodeState::wait(std::unique_lock<std::mutex>& lock, Deadline deadline, const Condition& done,
                     std::condition_variable& signal) {
  if (session.has_gathered()) session.send_gathered();
  while (!done()) {
    if (!driving && open && !connection_is_over() && callers_drive) {
      ++drives;
      drive(lock, deadline, done);
      if (connection_is_over()) pass_on();
      if (deadline != forever && Clock::now() >= deadline) break;
      continue;
    }
    if (deadline != forever && Clock::now() >= deadline) break;
    thread_wanted |= driving;
    followers.push_back(&signal);
    if (deadline == forever) {
      signal.wait(lock);
    } else {
      signal.wait_until(lock, deadline);
    }
    followers.erase(std::find(followers.begin(), followers.end(), &signal));
  }
  if (!driving) pass_on();
  return done();
}

/// Has who drives look again: something has changed that he did not bring about himself.
void NodeState::tell() noexcept {
  changed.notify_all();
  if (asleep_until != Time{}) poller.wake();
}

/// After what the session was asked to do: on a lossy link it may want to be called earlier than who drives wakes.
void NodeState::look_at_clock() noexcept {
  if (asleep_until == Time{}) return;
  if (const auto next = session.next_tick(); next && *next < asleep_until) poller.wake();
}

void NodeState::leave_driving_to_the_thread() noexcept {
  const std::lock_guard lock(mutex);
  if (!std::exchange(callers_drive, false)) return;
  hand_over.notify_one();
}

/// Reads, and sees to what is due, until `done`, the deadline or the connection's end. Without memory or descriptors
/// for that the connection ends, and what had come is lost with it.
void NodeState::drive(std::unique_lock<std::mutex>& lock, Deadline deadline, const Condition& done) {
  driving = true;
  try {
    read_until(lock, deadline, done);
  } catch (const std::exception&) {
    if (!lock.owns_lock()) lock.lock();
    asleep_until = Time{};
    if (std::exchange(armed, false)) poller.forget_room(channel);
    last_error = make_error_code(Errc::no_room);
    last_text.clear();
    lost = true;
    changed.notify_all();
  }
  driving = false;
}

/// The mutex is free while it sleeps.
void NodeState::read_until(std::unique_lock<std::mutex>& lock, Deadline deadline, const Condition& done) {
  Spinner spinner = patience.next();
  bool looked_in_vain = false, slept = false;  // since something came
  for (;;) {
    const bool any = read_frames();
    if (any) {
      if (std::exchange(looked_in_vain, false) && !slept) patience.in_time();
      slept = false;
    }
    if (connection_is_over()) return changed.notify_all();
    const Time now = Clock::now();
    if (room_wanted > 0) look_for_room(now);
    session.tick(now);
    if (done() || now >= deadline) return;
    Deadline until = std::min(deadline, session.next_tick().value_or(forever));
    if (!session.is_up()) {
      if (now >= welcome_until) {
        last_error = make_error_code(Errc::timed_out);
        last_text = "join " + bus + ": who listens there has not answered as a broker does; is it one?";
        lost = true;
        return changed.notify_all();
      }
      until = std::min(until, welcome_until);
    }
    if (any) {
      spinner = patience.next();
      lock.unlock();  // others want to send
      lock.lock();
      continue;
    }
    looked_in_vain = true;
    lock.unlock();
    const bool spun = spinner.turn();
    lock.lock();
    if (spun) continue;
    patience.in_vain();
    if (done() || connection_is_over()) continue;
    if (room_wanted > 0) {
      try {
        poller.want_room(channel, 0);
        armed = true;
      } catch (const std::exception&) {  // no descriptors, or no memory
        until = std::min(until, now + kRoomAgain);
      }
    }
    asleep_until = until;
    lock.unlock();
    std::array<Poller::Key, 1> ready{};
    static_cast<void>(poller.wait(ready, until));
    lock.lock();
    asleep_until = Time{};
    if (std::exchange(armed, false)) poller.forget_room(channel);  // others send from here on
    slept = true;
    spinner = patience.next();
  }
}

/// What the channel has, so many at most. False: nothing.
bool NodeState::read_frames() {
  const Time now = time();
  for (std::size_t i = 0; i < kReadsInARow; ++i) {
    const Result<Message> frame = channel.try_receive();
    if (!frame) {
      if (frame.error() == Errc::would_block) return i > 0;
      last_error = frame.error();
      last_text = describe("join", bus, frame.error());
      lost = true;
      return true;
    }
    session.received(frame->bytes(), now);
    if (hang_up_asked) return true;
  }
  return true;
}

/// Sends what had no room, if there is some now.
void NodeState::look_for_room(Time now) {
  if (const Result<Loan> probe = channel.try_loan(room_wanted); !probe && probe.error() == Errc::would_block) return;
  room_wanted = 0;
  session.room(now);
  changed.notify_all();
}

/// Whether the broker had welcomed this node.
bool NodeState::lose_connection() noexcept {
  Channel gone;  // destroyed without the lock: that waits for the flusher, which may wait for the lock in on_due()
  const std::lock_guard lock(mutex);
  const bool was_up = session.is_up();
  open = false;
  poller.remove(channel);
  std::swap(gone, channel);
  session.disconnected();
  changed.notify_all();
  return was_up;
}

}  // namespace bus::client
