// transports/mq/queue.cpp: where Boost's exceptions end.
#include "transports/mq/queue.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/interprocess/ipc/message_queue.hpp>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <utility>

#include "bus/core/errc.hpp"
#include "bus/core/fault_point.hpp"
#include "bus/core/os/fd.hpp"
#include "bus/core/units.hpp"

namespace bus::mq {
namespace bip = boost::interprocess;

namespace {

constexpr std::size_t kTokenDigits = 32;
constexpr unsigned kPriority = 0;  // one for all: then the queue keeps their order

// Boost's header of a message and its entry in the index. Source: boost/interprocess/ipc/message_queue.hpp, 1.81.
constexpr std::size_t kMessageOverhead = sizeof(bip::ipcdetail::msg_hdr_t<bip::offset_ptr<void>>) + sizeof(void*);
// The first word of the memory once it is complete. Source: boost/interprocess/detail/managed_open_or_create_impl.hpp.
constexpr std::uint32_t kInitialized = 2;

/// Signals wait while this lives: an allocation that a signal ends starts from nothing again, and under a storm of
/// signals would never end. Source: posix_fallocate(3), and Boost's loop around it.
class SignalsLater {
 public:
  SignalsLater() noexcept {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  ~SignalsLater() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsLater(const SignalsLater&) = delete;
  SignalsLater& operator=(const SignalsLater&) = delete;

 private:
  sigset_t before_{};
};

std::error_code code_of(const bip::interprocess_exception& e) noexcept {
  switch (e.get_error_code()) {
    case bip::no_error:
      return make_error_code(Errc::corrupt);
    case bip::not_found_error:
    case bip::not_such_file_or_directory:
      return make_error_code(Errc::no_peer);
    case bip::security_error:
      return make_error_code(Errc::permission_denied);
    case bip::out_of_memory_error:
    case bip::out_of_space_error:
    case bip::out_of_resource_error:
    case bip::size_error:
      return make_error_code(Errc::no_room);
    case bip::corrupted_error:
      return make_error_code(Errc::corrupt);
    default:
      if (e.get_native_error() != 0) return {e.get_native_error(), std::system_category()};
      return make_error_code(Errc::corrupt);
  }
}

[[noreturn]] void fail(std::string_view what, const std::string& name, std::error_code code,
                       std::string_view why = {}) {
  std::string text(what);
  text.append(" queue ").append(name).append(": ").append(why.empty() ? code.message() : std::string(why));
  throw Error(code, text);
}

/// Runs a call of Boost's that says whether it was done.
template <class Call>
Outcome guarded(Call&& call) noexcept {
  try {
    return call() ? Outcome::done : Outcome::wait;
  } catch (const bip::interprocess_exception& e) {
    return e.get_error_code() == bip::not_recoverable ? Outcome::died : Outcome::broken;
  } catch (...) {
    return Outcome::broken;
  }
}

/// Throws unless the memory of that name is ours, large enough and complete.
void check_memory(const std::string& name, std::size_t least) {
  const os::Fd fd(shm_open(("/" + name).c_str(), O_RDWR, 0));
  if (!fd) {
    const std::error_code code = last_system_error();
    fail("open", name, code == std::errc::no_such_file_or_directory ? make_error_code(Errc::no_peer) : code);
  }
  struct stat info {};
  if (fstat(fd.get(), &info) != 0) fail("open", name, last_system_error());
  if (!S_ISREG(info.st_mode) || info.st_uid != geteuid() || (info.st_mode & 077) != 0) {
    fail("open", name, Errc::corrupt, "it is not ours alone");
  }
  if (info.st_size < 0 || static_cast<std::uint64_t>(info.st_size) < least) {
    fail("open", name, Errc::corrupt, "it is smaller than its messages");
  }
  std::uint32_t state = 0;
  if (pread(fd.get(), &state, sizeof state, 0) != ssize_t{sizeof state} || state != kInitialized) {
    fail("open", name, Errc::corrupt, "it is not complete");
  }
}

}  // namespace

struct Queue::Impl {
  template <class... Arguments>
  explicit Impl(Arguments&&... arguments) : queue(std::forward<Arguments>(arguments)...) {}
  bip::message_queue queue;
};

Queue::Queue(std::unique_ptr<Impl> impl, std::size_t depth, std::size_t slot) noexcept
    : impl_(std::move(impl)), depth_(depth), slot_(slot) {}
Queue::Queue(Queue&&) noexcept = default;
Queue& Queue::operator=(Queue&&) noexcept = default;
Queue::~Queue() = default;

std::size_t Queue::memory(std::size_t depth, std::size_t slot) noexcept { return depth * (slot + kMessageOverhead); }

Queue Queue::create(const std::string& name, std::size_t depth, std::size_t slot) {
  bip::permissions mine;
  mine.set_permissions(0600);
  try {
    const SignalsLater hold;
    BUS_FAULT_POINT();
    return {std::make_unique<Impl>(bip::create_only, name.c_str(), depth, slot, mine), depth, slot};
  } catch (const bip::interprocess_exception& e) {
    if (e.get_error_code() == bip::already_exists_error) fail("create", name, Errc::address_in_use);
    remove_queue(name);
    const std::error_code code = code_of(e);
    if (code != Errc::no_room) fail("create", name, code);
    fail("create", name, code, "no room for " + format_size(memory(depth, slot)) + " in /dev/shm");
  }
}

Queue Queue::open(const std::string& name, std::size_t depth, std::size_t slot) {
  check_memory(name, memory(depth, slot));
  try {
    BUS_FAULT_POINT();
    Queue queue(std::make_unique<Impl>(bip::open_only, name.c_str()), depth, slot);
    if (queue.impl_->queue.get_max_msg() != depth || queue.impl_->queue.get_max_msg_size() != slot) {
      fail("open", name, Errc::corrupt, "it has another geometry than was told");
    }
    return queue;
  } catch (const bip::interprocess_exception& e) {
    fail("open", name, code_of(e));
  }
}

Outcome Queue::try_push(std::span<const std::byte> payload) noexcept {
  static constexpr std::byte kNothing{};  // memcpy wants an address even for no bytes
  BUS_FAULT_POINT();
  return guarded(
      [&] { return impl_->queue.try_send(payload.empty() ? &kNothing : payload.data(), payload.size(), kPriority); });
}

Outcome Queue::try_pop(std::span<std::byte> into, std::size_t& size) noexcept {
  unsigned priority = 0;
  bip::message_queue::size_type received = 0;
  BUS_FAULT_POINT();
  const Outcome outcome =
      guarded([&] { return impl_->queue.try_receive(into.data(), into.size(), received, priority); });
  if (outcome == Outcome::done && received > slot_) return Outcome::broken;
  size = received;
  return outcome;
}

Outcome Queue::count(std::size_t& messages) noexcept {
  messages = 0;
  return guarded([&] { return (messages = impl_->queue.get_num_msg()) != 0; });
}

QueueName::QueueName(std::string name) : name_(std::move(name)), owner_(getpid()) {}
QueueName::QueueName(QueueName&& other) noexcept : name_(std::exchange(other.name_, {})), owner_(other.owner_) {}
QueueName& QueueName::operator=(QueueName&& other) noexcept {
  if (this != &other) {
    remove();
    name_ = std::exchange(other.name_, {});
    owner_ = other.owner_;
  }
  return *this;
}

void QueueName::remove() noexcept {
  if (name_.empty()) return;
  if (owner_ == getpid()) remove_queue(name_);
  name_.clear();
}

void remove_queue(const std::string& name) noexcept {
  BUS_FAULT_POINT();
  bip::message_queue::remove(name.c_str());  // false: it was not there, which is what is wanted
}

std::vector<std::string> find_queues(std::string_view prefix) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir("/dev/shm"), &closedir);
  if (!folder) return names;
  const auto hexadecimal = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  // readdir is safe on a stream of one's own; readdir_r is deprecated. Source: readdir(3).
  while (const dirent* entry = readdir(folder.get())) {  // NOLINT(concurrency-mt-unsafe)
    const std::string_view name(entry->d_name);
    if (!name.starts_with(prefix) || name.size() < prefix.size() + kTokenDigits) continue;
    const std::string_view token = name.substr(prefix.size(), kTokenDigits);
    const std::string_view ending = name.substr(prefix.size() + kTokenDigits);
    if (!std::all_of(token.begin(), token.end(), hexadecimal)) continue;
    if (ending == ".up" || ending == ".down") names.emplace_back(name);
  }
  return names;
}

}  // namespace bus::mq
