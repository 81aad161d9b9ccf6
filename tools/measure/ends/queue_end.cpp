// tools/measure/ends/queue_end.cpp: two queues, one for each direction.
#include "tools/measure/ends/queue_end.hpp"

#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/version.hpp>
#include <optional>

#include "bus/core/errc.hpp"

namespace bus::tools::measure {
namespace {

namespace ipc = boost::interprocess;

constexpr std::size_t kMostMessages = 1024;
constexpr std::size_t kMostBytes = std::size_t{4} << 20;

std::size_t depth(std::size_t size) { return std::clamp<std::size_t>(kMostBytes / size, 4, kMostMessages); }

void remove_both(const std::string& up, const std::string& down) noexcept {
  ipc::message_queue::remove(up.c_str());
  ipc::message_queue::remove(down.c_str());
}

}  // namespace

struct QueueEnd::Queues {
  std::string up, down;
  bool owner = false;
  std::optional<ipc::message_queue> in, out;

  ~Queues() {
    if (owner) remove_both(up, down);
  }
};

QueueEnd::QueueEnd(const std::string& name, std::size_t size, bool near, WaitMode wait)
    : queues_(std::make_unique<Queues>()), busy_(wait == WaitMode::spin), incoming_(size) {
  queues_->up = name + "-up";
  queues_->down = name + "-down";
  try {
    if (near) {
      queues_->out.emplace(ipc::open_only, queues_->up.c_str());
      queues_->in.emplace(ipc::open_only, queues_->down.c_str());
    } else {
      queues_->owner = true;
      queues_->in.emplace(ipc::create_only, queues_->up.c_str(), depth(size), size);
      queues_->out.emplace(ipc::create_only, queues_->down.c_str(), depth(size), size);
    }
  } catch (const ipc::interprocess_exception& error) {
    throw Error(Errc::no_room, "boost queue " + name + ": " + error.what());
  }
}

QueueEnd::~QueueEnd() = default;

void QueueEnd::remove(const std::string& name) noexcept { remove_both(name + "-up", name + "-down"); }

std::string QueueEnd::version() {
  return "Boost " + std::to_string(BOOST_VERSION / 100000) + "." + std::to_string(BOOST_VERSION / 100 % 1000);
}

bool QueueEnd::send(std::span<const std::byte> message) noexcept {
  try {
    if (!busy_) {
      queues_->out->send(message.data(), message.size(), 0);
      return true;
    }
    for (Spinner spinner(WaitMode::spin); !queues_->out->try_send(message.data(), message.size(), 0);) {
      static_cast<void>(spinner.turn());
    }
    return true;
  } catch (const ipc::interprocess_exception& error) {
    failure_ = error.what();
    return false;
  }
}

bool QueueEnd::receive(View& view) noexcept {
  try {
    ipc::message_queue::size_type size = 0;
    unsigned priority = 0;
    if (!busy_) {
      queues_->in->receive(incoming_.data(), incoming_.size(), size, priority);
    } else {
      for (Spinner spinner(WaitMode::spin);
           !queues_->in->try_receive(incoming_.data(), incoming_.size(), size, priority);) {
        static_cast<void>(spinner.turn());
      }
    }
    view.bytes = std::span<const std::byte>(incoming_).first(size);
    return true;
  } catch (const ipc::interprocess_exception& error) {
    failure_ = error.what();
    return false;
  }
}

}  // namespace bus::tools::measure
