// tools/common/server.cpp: see server.hpp.
#include "tools/common/server.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "tools/common/endpoint.hpp"
#include "tools/common/log.hpp"
#include "tools/common/terminal_text.hpp"

namespace bus::tools {

using namespace std::chrono_literals;

namespace {

constexpr Poller::Key kListener = 0;
constexpr Poller::Key kSignal = 1;
constexpr Poller::Key kOutput = 2;

constexpr std::size_t kAcceptBatch = 64;
constexpr auto kRoomFor = 10s;        // nobody turned away for so long: that is over
constexpr std::size_t kClosers = 32;  // threads that close what is left, each waiting for one peer

}  // namespace

Server::Server(Signals& signals, Service& service, Options options)
    : signals_(signals), service_(service), options_(options) {
  poller_.add(signals_.fd(), kSignal);
  if (options_.output_fd >= 0) poller_.add(options_.output_fd, kOutput);
}

Server::~Server() {
  for (auto& [number, session] : sessions_) {
    session->client->channel.close();
    if (session->thread.joinable()) session->thread.join();
  }
}

void Server::listen(Listener listener) {
  listener_ = std::move(listener);
  poller_.add(listener_, kListener);
  listening_ = true;
}

void Server::adopt(Channel channel) {
  auto session = std::make_unique<Session>();
  session->client = service_.make_client(std::move(channel), last_number_ + 1);
  Client& client = *session->client;
  client.description = describe_peer(client.channel.peer());
  Session& kept = *session;
  sessions_.emplace(++last_number_, std::move(session));
  if (last_number_ == 1) first_ = Clock::now();
  service_.came(client);
  try {
    kept.thread = std::thread([this, &kept] { work(kept); });
  } catch (const std::system_error& error) {
    log::warn("client " + std::to_string(client.number) +
              " is turned away: no thread for it: " + error.code().message());
    kept.dismissed = true;
    const std::lock_guard lock(mutex_);
    finished_.push_back(client.number);
    poller_.wake();
  }
}

void Server::work(Session& session) noexcept {
  try {
    session.reason = service_.serve(*session.client);
  } catch (...) {
    session.error = std::current_exception();
  }
  const std::lock_guard lock(mutex_);
  finished_.push_back(session.client->number);
  poller_.wake();
}

std::chrono::nanoseconds Server::elapsed() const noexcept {
  if (last_number_ == 0) return 0ns;
  return std::max<std::chrono::nanoseconds>(service_.last_message() - first_, 0ns);
}

void Server::accept_all() {
  for (std::size_t i = 0; i < kAcceptBatch; ++i) {
    Result<Channel> channel = listener_.try_accept();
    if (channel) {
      if (Clock::now() - last_turned_away_ >= kRoomFor) room_again();
      adopt(std::move(*channel));
      continue;
    }
    if (channel.error() == Errc::would_block) return;
    if (channel.error() != Errc::no_room) {
      throw Error(channel.error(), describe("accept", listener_.address(), channel.error()));
    }
    turn_away();
    return;
  }
}

/// Said once while it lasts: who is turned away tries again and again.
void Server::turn_away() {
  if (turned_away_++ == 0) {
    log::warn("clients are turned away: no room beside " + std::to_string(sessions_.size()) +
              " others; raise the limit of open files (ulimit -n), or free memory");
  }
  last_turned_away_ = Clock::now();
}

void Server::room_again() {
  if (turned_away_ == 0) return;
  log::warn("clients were turned away " + counted(turned_away_, "time"));
  turned_away_ = 0;
}

/// Says good-bye to those whose peers have ended the channel.
void Server::reap() {
  std::vector<std::uint64_t> numbers;
  {
    const std::lock_guard lock(mutex_);
    numbers.swap(finished_);
  }
  for (const std::uint64_t number : numbers) {
    const auto it = sessions_.find(number);
    if (it == sessions_.end()) continue;
    const bool served = it->second->thread.joinable();
    join(*it->second);
    // One that we ended ourselves is still open: close_all() closes it and waits for its books.
    if (served && !it->second->reason) continue;
    const std::unique_ptr<Session> session = std::move(it->second);
    sessions_.erase(it);
    end(*session);
  }
}

void Server::join(Session& session) {
  if (!session.thread.joinable()) return;
  session.thread.join();
  if (!error_) error_ = session.error;
}

/// Whatever has been thrown: each session's books count.
void Server::end(Session& session) {
  join(session);
  session.client->channel.close();
  try {
    service_.went(*session.client, session.dismissed ? std::error_code{} : session.reason);
  } catch (...) {
    if (!error_) error_ = std::current_exception();
  }
}

void Server::throw_error() {
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

Server::End Server::run() {
  std::array<Poller::Key, 64> ready{};
  for (;;) {
    reap();
    throw_error();
    if (service_.done()) return End::done;
    if (signals_.stopped()) return End::stopped;
    if (options_.once && last_number_ > 0 && sessions_.empty()) return End::all_gone;
    Deadline deadline = forever;
    if (options_.timeout) {
      const auto last = service_.last_message();
      if (*options_.timeout < forever - last) deadline = last + *options_.timeout;
      if (Clock::now() >= deadline) return End::timed_out;
    }
    const std::size_t count = poller_.wait(ready, deadline);
    for (std::size_t i = 0; i < count; ++i) {
      const Poller::Key key = ready[i];
      if (key == kSignal) return End::stopped;
      if (key == kOutput) return End::output_closed;
      if (key == kListener) accept_all();
    }
  }
}

void Server::close_all(Deadline deadline) {
  if (listening_) {
    poller_.remove(listener_);
    listener_.close();
    listening_ = false;
    room_again();
  }
  reap();
  // Several at a time: a peer that takes nothing any more is waited for without holding up the others.
  std::vector<Session*> left;
  for (auto& [number, session] : sessions_) left.push_back(session.get());
  std::atomic<std::size_t> next{0};
  const auto close_next = [&] {
    for (std::size_t i = next++; i < left.size(); i = next++) {
      left[i]->dismissed = true;
      // Timed out or died: then the books stay open, which is what they say.
      if (const std::error_code error = left[i]->client->channel.close(deadline)) {
        log::debug("client " + std::to_string(left[i]->client->number) + ": closing: " + error.message());
      }
      left[i]->client->channel.close();
    }
  };
  {
    std::vector<std::jthread> closers;
    for (std::size_t i = 1; i < std::min(kClosers, left.size()); ++i) closers.emplace_back(close_next);
    close_next();
  }
  while (!sessions_.empty()) {
    const std::unique_ptr<Session> session = std::move(sessions_.begin()->second);
    sessions_.erase(sessions_.begin());
    end(*session);
  }
  throw_error();
}

}  // namespace bus::tools
