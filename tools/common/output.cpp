// tools/common/output.cpp: see output.hpp.
#include "tools/common/output.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "bus/core/errc.hpp"

namespace bus::tools {

using namespace std::chrono_literals;

namespace {

constexpr std::size_t kBufferBytes = 64 << 10;
// After a signal, a reader gets this long to take the rest: the summary and what stood before it.
constexpr auto kGrace = 1s;

}  // namespace

Output::Output(Signals& signals) : signals_(signals), fd_(STDOUT_FILENO), name_("stdout") { inspect(); }

Output::Output(Signals& signals, const std::string& path) : signals_(signals), fd_(STDOUT_FILENO), name_(path) {
  if (path != "-") {
    owned_ = os::Fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
    if (!owned_) {
      const std::error_code code = last_system_error();
      throw Error(code, "cannot write " + path + ": " + code.message());
    }
    fd_ = owned_.get();
  }
  inspect();
}

void Output::inspect() {
  struct stat status {};
  if (::fstat(fd_, &status) == 0) {
    is_pipe_ = S_ISFIFO(status.st_mode);
    may_block_ = !S_ISREG(status.st_mode);
  }
  is_terminal_ = ::isatty(fd_) == 1;
  buffer_.reserve(kBufferBytes);
}

void Output::write(std::span<const std::byte> bytes) {
  if (buffer_.size() + bytes.size() > kBufferBytes) flush();
  if (bytes.size() >= kBufferBytes / 2) {
    write_now(bytes);
  } else {
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  }
}

void Output::flush() {
  if (buffer_.empty()) return;
  // What fails to be written is not tried again by a later flush.
  std::vector<std::byte> bytes;
  bytes.swap(buffer_);
  write_now(bytes);
  bytes.clear();
  buffer_.swap(bytes);  // keeps the memory
}

void Output::write_now(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    std::size_t piece = bytes.size();
    if (may_block_) {
      // A pipe that is ready takes PIPE_BUF bytes without blocking: more could leave us deaf to signals. stdout's
      // own flags are left alone, for others share them. Source: pipe(7).
      piece = std::min<std::size_t>(piece, PIPE_BUF);
      if (!signals_.wait_for(fd_, POLLOUT)) {
        pollfd fd{fd_, POLLOUT, 0};
        const int grace = static_cast<int>(std::chrono::milliseconds(kGrace).count());
        if (::poll(&fd, 1, grace) <= 0) throw OutputStuck();
      }
    }
    const ssize_t written = ::write(fd_, bytes.data(), piece);
    if (written >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(written));
      continue;
    }
    if (errno == EINTR || errno == EAGAIN) continue;
    if (errno == EPIPE) throw OutputClosed();
    const std::error_code code = last_system_error();
    throw Error(code, "cannot write " + name_ + ": " + code.message());
  }
}

}  // namespace bus::tools
