// bus/core/message.cpp: messages that own their bytes.
#include "bus/core/message.hpp"

#include <cstring>
#include <memory>

namespace bus {
namespace {

class Heap final : public Message::Owner {
 public:
  void release(void* token) noexcept override { delete[] static_cast<std::byte*>(token); }
};

constinit Heap heap;

}  // namespace

Message Message::copy() const {
  if (bytes_.empty()) return {};
  auto memory = std::make_unique_for_overwrite<std::byte[]>(bytes_.size());
  std::memcpy(memory.get(), bytes_.data(), bytes_.size());
  const std::span<const std::byte> view(memory.get(), bytes_.size());
  return {view, &heap, memory.release()};
}

}  // namespace bus
